//! The keys of the attributes, each with an example of its value.

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Worker,
    Cpu,
    Gpu,
    GpuTypes,
    VramGib,
    GpuCount,
    Workers,
    IdleTimeout,
    ExecutionTimeout,
    StartTimeout,
    MaxConcurrency,
    QueueDelay,
    RequestCount,
    Buffer,
    Task,
    DataCenters,
    DiskGib,
    ShmMib,
    Model,
    Files,
    Resource,
    Method,
    Path,
    Replay,
    Http,
    OpenAi,
    MaxBodyMib,
    RequestTimeout,
    Retries,
    Backoff,
    RetryIf,
    Schedule,
    Timezone,
    Missed,
    Overlap,
    Example,
}

impl Key {
    pub(super) const ALL: &[Self] = &[
        Self::Worker,
        Self::Cpu,
        Self::Gpu,
        Self::GpuTypes,
        Self::VramGib,
        Self::GpuCount,
        Self::Workers,
        Self::IdleTimeout,
        Self::ExecutionTimeout,
        Self::StartTimeout,
        Self::MaxConcurrency,
        Self::QueueDelay,
        Self::RequestCount,
        Self::Buffer,
        Self::Task,
        Self::DataCenters,
        Self::DiskGib,
        Self::ShmMib,
        Self::Model,
        Self::Files,
        Self::Resource,
        Self::Method,
        Self::Path,
        Self::Replay,
        Self::Http,
        Self::OpenAi,
        Self::MaxBodyMib,
        Self::RequestTimeout,
        Self::Retries,
        Self::Backoff,
        Self::RetryIf,
        Self::Schedule,
        Self::Timezone,
        Self::Missed,
        Self::Overlap,
        Self::Example,
    ];
    pub(super) const OF_ROUTE: &[Self] = &[Self::Method, Self::Path, Self::Replay];
    /// What `#[job]` takes on a method: the settings of one function.
    pub(super) const OF_JOB: &[Self] = &[
        Self::Retries,
        Self::Backoff,
        Self::RetryIf,
        Self::Schedule,
        Self::Timezone,
        Self::Missed,
        Self::Overlap,
        Self::Example,
    ];

    pub(super) fn name(self) -> &'static str {
        self.form().split_once(' ').map_or(self.form(), |(name, _)| name)
    }

    /// The key with an example of its value.
    pub(super) fn form(self) -> &'static str {
        match self {
            Self::Worker => "worker = \"name\"",
            Self::Cpu => "cpu = Cpu3g_2_8",
            Self::Gpu => "gpu = Ada24",
            Self::GpuTypes => "gpu_types = [Rtx4090]",
            Self::VramGib => "vram_gib = 30",
            Self::GpuCount => "gpu_count = 2",
            Self::Workers => "workers = 0..=3",
            Self::IdleTimeout => "idle_timeout = 5",
            Self::ExecutionTimeout => "execution_timeout = 600",
            Self::StartTimeout => "start_timeout = 1200",
            Self::MaxConcurrency => "max_concurrency = 8",
            Self::QueueDelay => "queue_delay = 4",
            Self::RequestCount => "request_count = 4",
            Self::Buffer => "buffer = 1",
            Self::Task => "task",
            Self::DataCenters => "data_centers = [EuRo1]",
            Self::DiskGib => "disk_gib = 64",
            Self::ShmMib => "shm_mib = 1024",
            Self::Model => "model = \"org/name@revision\"",
            Self::Files => "files = [\"*.safetensors\", \"tokenizer.json\"]",
            Self::Resource => "resource = PIPELINE",
            Self::Method => "method = POST",
            Self::Path => "path = \"/classify\"",
            Self::Replay => "replay = 256",
            Self::Http => "http = \"/chat\"",
            Self::OpenAi => "openai = \"smollm2-135m\"",
            Self::MaxBodyMib => "max_body_mib = 100",
            Self::RequestTimeout => "request_timeout = 600",
            Self::Retries => "retries = 3",
            Self::Backoff => "backoff = 1..=60",
            Self::RetryIf => "retry_if = is_transient",
            Self::Example => "example = r#\"{\"text\": \"good\"}\"#",
            Self::Schedule => "schedule = \"0 3 * * *\"",
            Self::Timezone => "timezone = \"Europe/Berlin\"",
            Self::Missed => "missed = once",
            Self::Overlap => "overlap = allow",
        }
    }

    /// Whether it stands alone, without a value.
    pub(super) fn is_flag(self) -> bool {
        self == Self::Task
    }

    /// Whether it may stand alone, which is as `= true`.
    pub(super) fn may_stand_alone(self) -> bool {
        matches!(self, Self::Http | Self::OpenAi)
    }

    /// Whether it is part of a worker type's configuration, other than its name.
    pub(super) fn is_setting(self) -> bool {
        !matches!(self, Self::Worker | Self::Resource | Self::Http | Self::OpenAi)
            && !Self::OF_ROUTE.contains(&self)
            && !Self::OF_JOB.contains(&self)
    }
}
