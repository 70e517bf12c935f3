//! `flash status`.
use std::{io::IsTerminal as _, time::Duration};

use clap::Args;
use flash_protocol::{GpuStatus, catalogue::NanoDollars};
use flash_target::{
    FunctionBatches, JobMemory, ModelStatus, Serving, Status, WorkerCounts, WorkerStatus, WorkerUsage,
};

use super::{
    command::{Command, Context},
    scale,
    scope::{OneEnvironment, Scope},
    time::local_time,
};
use crate::{
    exit::{Code, Failure},
    output::{Format, Output},
};

/// The refresh interval of `--watch`.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// Moves the cursor home and clears the screen, for a terminal.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// Show the current state of an environment: workers by state, queues, last errors, cost so far.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  flash status production\n  flash status --watch\n  flash status --json | jq '.workers[].waiting'\n\n\
                  Exit codes: 0 success, also when nothing is live; 1 the target cannot be reached, or a \
                  release should be live and is not; 2 no such environment."
)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    environment: OneEnvironment,
    /// Refresh every second, until Ctrl-C.
    #[arg(long, short)]
    watch: bool,
    /// Print JSON; with --watch, one object per line.
    #[arg(long)]
    json: bool,
}

impl Command for StatusArguments {
    fn format(&self) -> Format {
        Format::of_flag(self.json)
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        let Self { environment: OneEnvironment { name, scope }, watch, json: _ } = self;
        let output = context.output();
        context.block_on(async {
            let scope = scope.environment(name.as_deref()).await?;
            match watch {
                true => follow(&scope, output).await,
                false => once(&scope, output).await,
            }
        })?;
        Ok(Code::Success)
    }
}

async fn once(scope: &Scope, output: &Output) -> Result<(), Failure> {
    let status = scope.target.status(&scope.id).await?;
    show(&status, output);
    if !output.is_json() {
        for line in scale::lines(&scope.target.scales(&scope.id).await?) {
            output.line(&line);
        }
    }
    match &status.serving {
        Serving::Down { release, reason } => {
            Err(Failure::failed(format!("release {release} should be live and is not: {reason}"))
                .hint(format!("see what happened: flash logs {}", scope.id.name)))
        }
        Serving::Live { .. } | Serving::Empty => Ok(()),
    }
}

async fn follow(scope: &Scope, output: &Output) -> Result<(), Failure> {
    let is_terminal = std::io::stdout().is_terminal() && !output.is_json();
    let mut tick = tokio::time::interval(BETWEEN_LOOKS);
    // After a pause, one look is enough.
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = output.reader_gone() => return Ok(()),
        }
        let status = scope.target.status(&scope.id).await?;
        if is_terminal {
            output.line(CLEAR);
        }
        show(&status, output);
    }
}

fn show(status: &Status, output: &Output) {
    if output.is_json() {
        return output.object(status);
    }
    let serving = match &status.serving {
        Serving::Live { release } => format!("release {release} is live"),
        Serving::Empty => "nothing is live".to_owned(),
        Serving::Down { release, .. } => format!("release {release} is DOWN"),
    };
    let url = status.url.as_deref().map_or(String::new(), |url| format!(" at {url}"));
    let draining = match status.draining.as_slice() {
        [] => String::new(),
        releases => {
            let numbers: Vec<String> = releases.iter().map(u64::to_string).collect();
            format!(", draining {}", numbers.join(" "))
        }
    };
    output.line(&format!("{}: {serving}{url}{draining}, cost so far {}", status.id, dollars(status.cost)));
    if matches!(status.serving, Serving::Empty) {
        output.note(&format!("send a release: flash deploy send {}", status.id.name));
    }
    for damage in &status.damaged {
        output.line(&format!("damaged: {damage}"));
    }
    if !status.workers.is_empty() {
        output.line("");
        let rows: Vec<Vec<String>> = status.workers.iter().map(row).collect();
        let head =
            ["worker type", "compute", "scale", "workers", "waiting", "running", "done", "failed", "cost"];
        output.table(&head, &rows);
    }
    let batches: Vec<&FunctionBatches> = status.workers.iter().flat_map(|worker| &worker.batches).collect();
    if !batches.is_empty() {
        output.line("");
        batches.into_iter().for_each(|function| output.line(&batch_line(function)));
    }
    let models: Vec<&ModelStatus> = status.workers.iter().flat_map(|worker| &worker.models).collect();
    if !models.is_empty() {
        output.line("");
        models.into_iter().for_each(|model| output.line(&model_line(model)));
    }
    if let Some(memory) = &status.job_memory {
        output.line("");
        output.line(&memory_line(memory));
    }
    if !status.gpus.is_empty() {
        output.line("");
        status.gpus.iter().for_each(|gpu| output.line(&gpu_line(gpu)));
    }
    let usages: Vec<&WorkerUsage> = status.workers.iter().flat_map(|worker| &worker.usage).collect();
    if !usages.is_empty() {
        output.line("");
        usages.into_iter().for_each(|usage| output.line(&usage_line(usage)));
    }
    for worker in &status.workers {
        if let Some(reason) = &worker.waits_for {
            output.line(&format!("{} {reason}", worker.name));
        }
    }
    for worker in status.workers.iter().filter(|worker| !worker.last_errors.is_empty()) {
        output.line("");
        output.line(&format!("last errors of {}", worker.name));
        for error in &worker.last_errors {
            let request = error.request_id.as_deref().map_or(String::new(), |id| format!("  request {id}"));
            let message = error.message.lines().next().unwrap_or_default();
            output.line(&format!("  {}  {message}{request}", local_time(error.time_ms)));
        }
    }
}

fn row(worker: &WorkerStatus) -> Vec<String> {
    vec![
        worker.name.clone(),
        worker.compute.clone(),
        format!("{}..={}", worker.workers_min, worker.workers_max),
        counts(&worker.workers, worker.loading.as_deref()),
        worker.waiting.to_string(),
        worker.running.to_string(),
        worker.completed.to_string(),
        worker.failed.to_string(),
        dollars(worker.cost),
    ]
}

/// `batches of Embedder::embed: 12 of 3.5 calls and cost 40.2; a call prepares 0.20 ms and waits 5.00 ms, a batch runs 7.00
/// ms`: the averages.
fn batch_line(of: &FunctionBatches) -> String {
    let (calls, batches) = (of.calls.max(1) as f64, of.batches.max(1) as f64);
    format!(
        "batches of {}: {} of {:.1} calls and cost {:.1}; a call prepares {:.2} ms and waits {:.2} ms, a batch runs {:.2} ms",
        of.function,
        of.batches,
        of.calls as f64 / batches,
        of.cost as f64 / batches,
        of.prepare_seconds * 1000.0 / calls,
        of.wait_seconds * 1000.0 / calls,
        of.run_seconds * 1000.0 / batches,
    )
}

/// `model smollm2-135m: 2 running, 1 waiting; 12 answers (10 stop, 2 length), 516 tokens in (40 known), 768 out; first token
/// after 120.0 ms, then one every 15.2 ms, answer after 950.0 ms`: times are averages.
fn model_line(of: &ModelStatus) -> String {
    let ends: Vec<String> = of.answers.iter().map(|(end, count)| format!("{count} {end}")).collect();
    let count: u64 = of.answers.values().sum();
    let ends = if ends.is_empty() { String::new() } else { format!(" ({})", ends.join(", ")) };
    let known = if of.cached_tokens > 0 { format!(" ({} known)", of.cached_tokens) } else { String::new() };
    let times = [
        ("waited", of.queue_seconds),
        ("first token after", of.first_token_seconds),
        ("then one every", of.between_tokens_seconds),
        ("answer after", of.answer_seconds),
    ];
    let times =
        times.iter().filter_map(|(what, mean)| Some(format!("{what} {:.1} ms", mean.as_ref()? * 1000.0)));
    let times: Vec<String> = times.collect();
    let times = if times.is_empty() { String::new() } else { format!("; {}", times.join(", ")) };
    format!(
        "model {}: {} running, {} waiting; {count} answers{ends}, {} tokens in{known}, {} out{times}",
        of.model, of.running, of.waiting, of.prompt_tokens, of.generated_tokens,
    )
}

/// How much memory jobs hold; when full, what that means.
fn memory_line(memory: &JobMemory) -> String {
    let JobMemory { held_bytes, limit_bytes } = *memory;
    let full = if held_bytes >= limit_bytes { ": full, new jobs are rejected with 429" } else { "" };
    format!("memory of jobs: {} of {} MB{full}", held_bytes.div_ceil(1_000_000), limit_bytes / 1_000_000)
}

/// `greeter-e642da: 0.25 cores, 12.5 MB`
fn usage_line(usage: &WorkerUsage) -> String {
    format!("{}: {:.2} cores, {:.1} MB", usage.worker, usage.cores, usage.memory_bytes as f64 / 1e6)
}

/// `NVIDIA L4 (GPU-aa): 9.0 of 22.5 GiB in use, 16.0 GiB given to 2 workers, 35 % busy`
fn gpu_line(gpu: &GpuStatus) -> String {
    let gib = |mib: Option<u64>| mib.map_or("?".to_owned(), |mib| format!("{:.1}", mib as f64 / 1024.0));
    let workers = if gpu.workers == 1 { "worker" } else { "workers" };
    let busy = gpu.busy_percent.map_or_else(String::new, |percent| format!(", {percent} % busy"));
    format!(
        "{} ({}): {} of {} GiB in use, {} GiB given to {} {workers}{busy}",
        gpu.name,
        gpu.id,
        gib(gpu.used_mib),
        gib(gpu.memory_mib),
        gib(Some(gpu.given_mib)),
        gpu.workers
    )
}

/// `2 busy, 1 idle`: states without workers are left out.
fn counts(counts: &WorkerCounts, loading: Option<&str>) -> String {
    let WorkerCounts { starting, idle, busy, stopping, unhealthy, throttled, loading_seconds } = *counts;
    let doing = loading.map_or_else(String::new, |loading| format!(": {loading}"));
    let starting_for =
        loading_seconds.map_or_else(String::new, |seconds| format!(" (loading for {seconds} s{doing})"));
    let all = [
        (busy, "busy"),
        (idle, "idle"),
        (starting, &format!("starting{starting_for}")),
        (stopping, "stopping"),
        (unhealthy, "unhealthy"),
        (throttled, "throttled"),
    ];
    let some: Vec<String> =
        all.iter().filter(|(count, _)| *count > 0).map(|(count, state)| format!("{count} {state}")).collect();
    if some.is_empty() { "none".to_owned() } else { some.join(", ") }
}

fn dollars(cost: Option<NanoDollars>) -> String {
    cost.map_or_else(|| "unknown".to_owned(), |cost| format!("${:.6}", cost.0 as f64 / 1e9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_memory_is_told_with_what_it_means() {
        let memory = |held_bytes| memory_line(&JobMemory { held_bytes, limit_bytes: 2_147_483_648 });
        assert_eq!(memory(1), "memory of jobs: 1 of 2147 MB");
        assert!(memory(2_147_483_648).ends_with("2147 MB: full, new jobs are rejected with 429"));
    }

    #[test]
    fn a_worker_is_told_with_what_it_takes_of_the_machine() {
        let usage = WorkerUsage { worker: "greeter-e6".to_owned(), cores: 0.254, memory_bytes: 12_480_000 };
        assert_eq!(usage_line(&usage), "greeter-e6: 0.25 cores, 12.5 MB");
    }

    #[test]
    fn a_gpu_is_told_with_what_is_used_and_given() {
        let gpu = GpuStatus {
            id: "GPU-aa".to_owned(),
            name: "NVIDIA L4".to_owned(),
            memory_mib: Some(23_034),
            used_mib: Some(9_216),
            given_mib: 16_384,
            busy_percent: Some(35),
            workers: 2,
        };
        assert_eq!(
            gpu_line(&gpu),
            "NVIDIA L4 (GPU-aa): 9.0 of 22.5 GiB in use, 16.0 GiB given to 2 workers, 35 % busy"
        );
        let dark = GpuStatus {
            memory_mib: None,
            used_mib: None,
            busy_percent: None,
            workers: 1,
            given_mib: 0,
            ..gpu
        };
        assert_eq!(gpu_line(&dark), "NVIDIA L4 (GPU-aa): ? of ? GiB in use, 0.0 GiB given to 1 worker");
    }

    #[test]
    fn batches_are_told_by_their_averages() {
        let line = batch_line(&FunctionBatches {
            function: "Embedder::embed".to_owned(),
            batches: 2,
            calls: 8,
            cost: 100,
            prepare_seconds: 0.008,
            wait_seconds: 0.04,
            run_seconds: 0.03,
        });
        assert_eq!(
            line,
            "batches of Embedder::embed: 2 of 4.0 calls and cost 50.0; a call prepares 1.00 ms and waits 5.00 ms, a batch \
             runs 15.00 ms"
        );
    }

    #[test]
    fn workers_are_told_by_what_they_do() {
        let busy = WorkerCounts { busy: 2, idle: 1, ..WorkerCounts::default() };
        assert_eq!(counts(&busy, None), "2 busy, 1 idle");
        let loading = WorkerCounts { starting: 1, loading_seconds: Some(43), ..busy };
        assert_eq!(counts(&loading, None), "2 busy, 1 idle, 1 starting (loading for 43 s)");
        let doing = counts(&loading, Some("reading the weights: 40 %"));
        assert_eq!(doing, "2 busy, 1 idle, 1 starting (loading for 43 s: reading the weights: 40 %)");
        assert_eq!(counts(&WorkerCounts::default(), None), "none");
    }

    #[test]
    fn models_are_told_by_what_they_do_and_by_averages() {
        let mut model = ModelStatus { model: "parrot".to_owned(), waiting: 1, ..ModelStatus::default() };
        assert_eq!(model_line(&model), "model parrot: 0 running, 1 waiting; 0 answers, 0 tokens in, 0 out");
        model.answers = [("length".to_owned(), 2), ("stop".to_owned(), 10)].into();
        (model.prompt_tokens, model.cached_tokens, model.generated_tokens) = (516, 40, 768);
        (model.first_token_seconds, model.between_tokens_seconds) = (Some(0.12), Some(0.0152));
        assert_eq!(
            model_line(&model),
            "model parrot: 0 running, 1 waiting; 12 answers (2 length, 10 stop), 516 tokens in (40 known), 768 out; first \
             token after 120.0 ms, then one every 15.2 ms"
        );
    }
}
