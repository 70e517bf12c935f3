//! Data centers, and which of them have CPU workers and S3 access to volumes.

super::names! {
    /// A data center. These are all of Runpod's REST API, and those documented with S3 access.
    DataCenter {
        ApJp1 = "AP-JP-1",
        CaMtl1 = "CA-MTL-1",
        CaMtl2 = "CA-MTL-2",
        CaMtl3 = "CA-MTL-3",
        EuCz1 = "EU-CZ-1",
        EuFr1 = "EU-FR-1",
        EuNl1 = "EU-NL-1",
        EuRo1 = "EU-RO-1",
        EuSe1 = "EU-SE-1",
        EurIs1 = "EUR-IS-1",
        EurIs2 = "EUR-IS-2",
        EurIs3 = "EUR-IS-3",
        EurNo1 = "EUR-NO-1",
        OcAu1 = "OC-AU-1",
        UsCa2 = "US-CA-2",
        UsDe1 = "US-DE-1",
        UsGa1 = "US-GA-1",
        UsGa2 = "US-GA-2",
        UsIl1 = "US-IL-1",
        UsKs2 = "US-KS-2",
        UsKs3 = "US-KS-3",
        UsMd1 = "US-MD-1",
        UsMo1 = "US-MO-1",
        UsMo2 = "US-MO-2",
        UsNc1 = "US-NC-1",
        UsNc2 = "US-NC-2",
        UsNe1 = "US-NE-1",
        UsTx1 = "US-TX-1",
        UsTx3 = "US-TX-3",
        UsTx4 = "US-TX-4",
        UsWa1 = "US-WA-1",
    }
}

impl DataCenter {
    /// Whether CPU workers run here. Only one data center is documented to have them; the live catalogue has the
    /// final say.
    pub const fn has_cpu_workers(self) -> bool {
        matches!(self, Self::EuRo1)
    }

    /// Whether network volumes here are reachable over the S3 protocol.
    pub const fn has_s3(self) -> bool {
        use DataCenter::*;
        matches!(
            self,
            EuCz1
                | EuRo1
                | EurIs1
                | EurNo1
                | UsCa2
                | UsGa2
                | UsIl1
                | UsKs2
                | UsMd1
                | UsMo1
                | UsMo2
                | UsNc1
                | UsNc2
                | UsNe1
                | UsWa1
        )
    }
}
