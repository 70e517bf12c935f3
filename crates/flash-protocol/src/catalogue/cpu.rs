//! CPU instances: flavor, vCPUs and memory.

super::names! {
    /// A CPU instance, named flavor-vCPUs-GiB as in Runpod Flash.
    ///
    /// The `cpu5g` flavor is missing because its memory per vCPU is not published. Runpod's REST API v2 creates only
    /// instances with two vCPUs or more; sizes with one vCPU run only on a local platform.
    CpuInstance {
        Cpu3c_1_2 = "cpu3c-1-2",
        Cpu3c_2_4 = "cpu3c-2-4",
        Cpu3c_4_8 = "cpu3c-4-8",
        Cpu3c_8_16 = "cpu3c-8-16",
        Cpu3g_1_4 = "cpu3g-1-4",
        Cpu3g_2_8 = "cpu3g-2-8",
        Cpu3g_4_16 = "cpu3g-4-16",
        Cpu3g_8_32 = "cpu3g-8-32",
        Cpu5c_1_2 = "cpu5c-1-2",
        Cpu5c_2_4 = "cpu5c-2-4",
        Cpu5c_4_8 = "cpu5c-4-8",
        Cpu5c_8_16 = "cpu5c-8-16",
    }
}

impl CpuInstance {
    /// The flavor, such as `cpu3g`. The provider's API takes it with a vCPU count.
    pub const fn flavor(self) -> &'static str {
        use CpuInstance::*;
        match self {
            Cpu3c_1_2 | Cpu3c_2_4 | Cpu3c_4_8 | Cpu3c_8_16 => "cpu3c",
            Cpu3g_1_4 | Cpu3g_2_8 | Cpu3g_4_16 | Cpu3g_8_32 => "cpu3g",
            Cpu5c_1_2 | Cpu5c_2_4 | Cpu5c_4_8 | Cpu5c_8_16 => "cpu5c",
        }
    }

    /// Virtual CPUs.
    pub const fn vcpus(self) -> u32 {
        use CpuInstance::*;
        match self {
            Cpu3c_1_2 | Cpu3g_1_4 | Cpu5c_1_2 => 1,
            Cpu3c_2_4 | Cpu3g_2_8 | Cpu5c_2_4 => 2,
            Cpu3c_4_8 | Cpu3g_4_16 | Cpu5c_4_8 => 4,
            Cpu3c_8_16 | Cpu3g_8_32 | Cpu5c_8_16 => 8,
        }
    }

    /// Memory in GB: 2 per vCPU for compute flavors, 4 for general ones.
    pub const fn memory_gb(self) -> u32 {
        let per_vcpu = match self.flavor().as_bytes() {
            b"cpu3g" => 4,
            _ => 2,
        };
        self.vcpus() * per_vcpu
    }

    /// Maximum container disk in GB: 10 per vCPU for generation 3, 15 for generation 5.
    pub const fn disk_gb(self) -> u32 {
        let per_vcpu = match self.flavor().as_bytes() {
            b"cpu5c" => 15,
            _ => 10,
        };
        self.vcpus() * per_vcpu
    }
}
