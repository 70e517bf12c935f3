//! GPU pools and the GPU types in them.

super::names! {
    /// A pool of GPU types that the provider treats as interchangeable.
    GpuPool {
        Ampere16 = "AMPERE_16",
        Ampere24 = "AMPERE_24",
        Ada24 = "ADA_24",
        Ada32Pro = "ADA_32_PRO",
        Ampere48 = "AMPERE_48",
        Ada48Pro = "ADA_48_PRO",
        Ampere80 = "AMPERE_80",
        Ada80Pro = "ADA_80_PRO",
        Blackwell96 = "BLACKWELL_96",
        Hopper141 = "HOPPER_141",
        Blackwell180 = "BLACKWELL_180",
    }
}

super::names! {
    /// A GPU model, by the provider's ID.
    GpuType {
        RtxA4000 = "NVIDIA RTX A4000",
        RtxA4500 = "NVIDIA RTX A4500",
        Rtx4000Ada = "NVIDIA RTX 4000 Ada Generation",
        Rtx2000Ada = "NVIDIA RTX 2000 Ada Generation",
        L4 = "NVIDIA L4",
        RtxA5000 = "NVIDIA RTX A5000",
        Rtx3090 = "NVIDIA GeForce RTX 3090",
        Rtx4090 = "NVIDIA GeForce RTX 4090",
        Rtx5090 = "NVIDIA GeForce RTX 5090",
        A40 = "NVIDIA A40",
        RtxA6000 = "NVIDIA RTX A6000",
        L40 = "NVIDIA L40",
        L40s = "NVIDIA L40S",
        Rtx6000Ada = "NVIDIA RTX 6000 Ada Generation",
        A100Pcie = "NVIDIA A100 80GB PCIe",
        A100Sxm = "NVIDIA A100-SXM4-80GB",
        H100Pcie = "NVIDIA H100 PCIe",
        H100Hbm3 = "NVIDIA H100 80GB HBM3",
        H100Nvl = "NVIDIA H100 NVL",
        RtxPro6000Server = "NVIDIA RTX PRO 6000 Blackwell Server Edition",
        RtxPro6000Workstation = "NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
        RtxPro6000MaxQ = "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition",
        H200 = "NVIDIA H200",
        B200 = "NVIDIA B200",
    }
}

impl GpuPool {
    /// The GPU types in this pool.
    pub const fn types(self) -> &'static [GpuType] {
        use GpuType::*;
        match self {
            Self::Ampere16 => &[RtxA4000, RtxA4500, Rtx4000Ada, Rtx2000Ada],
            Self::Ampere24 => &[L4, RtxA5000, Rtx3090],
            Self::Ada24 => &[Rtx4090],
            Self::Ada32Pro => &[Rtx5090],
            Self::Ampere48 => &[A40, RtxA6000],
            Self::Ada48Pro => &[L40, L40s, Rtx6000Ada],
            Self::Ampere80 => &[A100Pcie, A100Sxm],
            Self::Ada80Pro => &[H100Pcie, H100Hbm3, H100Nvl],
            Self::Blackwell96 => &[RtxPro6000Server, RtxPro6000Workstation, RtxPro6000MaxQ],
            Self::Hopper141 => &[H200],
            Self::Blackwell180 => &[B200],
        }
    }

    /// Pools with at least this many GB of memory, cheapest first by the catalogue's prices, and those without a
    /// published price last. Empty if no pool has that much.
    #[rustfmt::skip]
    pub const fn with_memory(gb: u32) -> &'static [Self] {
        use GpuPool::*;
        match gb {
            0..=16 => &[Ampere16, Ampere24, Ada24, Ampere48, Ada48Pro, Ampere80, Blackwell96, Ada80Pro, Hopper141, Blackwell180, Ada32Pro],
            17..=24 => &[Ampere24, Ada24, Ampere48, Ada48Pro, Ampere80, Blackwell96, Ada80Pro, Hopper141, Blackwell180, Ada32Pro],
            25..=32 => &[Ampere48, Ada48Pro, Ampere80, Blackwell96, Ada80Pro, Hopper141, Blackwell180, Ada32Pro],
            33..=48 => &[Ampere48, Ada48Pro, Ampere80, Blackwell96, Ada80Pro, Hopper141, Blackwell180],
            49..=80 => &[Ampere80, Blackwell96, Ada80Pro, Hopper141, Blackwell180],
            81..=96 => &[Blackwell96, Hopper141, Blackwell180],
            97..=141 => &[Hopper141, Blackwell180],
            142..=180 => &[Blackwell180],
            _ => &[],
        }
    }

    /// GPU memory in GB that every type of the pool has.
    pub const fn vram_gb(self) -> u32 {
        let types = self.types();
        let (mut at, mut least) = (0, u32::MAX);
        while at < types.len() {
            if types[at].vram_gb() < least {
                least = types[at].vram_gb();
            }
            at += 1;
        }
        least
    }
}

impl GpuType {
    /// GPU memory in GB.
    pub const fn vram_gb(self) -> u32 {
        use GpuType::*;
        match self {
            RtxA4000 | Rtx2000Ada => 16,
            RtxA4500 | Rtx4000Ada => 20,
            L4 | RtxA5000 | Rtx3090 | Rtx4090 => 24,
            Rtx5090 => 32,
            A40 | RtxA6000 | L40 | L40s | Rtx6000Ada => 48,
            A100Pcie | A100Sxm | H100Pcie | H100Hbm3 => 80,
            H100Nvl => 94,
            RtxPro6000Server | RtxPro6000Workstation | RtxPro6000MaxQ => 96,
            H200 => 141,
            B200 => 180,
        }
    }

    /// The pool that contains this type.
    pub fn pool(self) -> GpuPool {
        let holds = |pool: &&GpuPool| pool.types().contains(&self);
        *GpuPool::ALL.iter().find(holds).expect("every GPU type is in one pool; a test checks it")
    }
}
