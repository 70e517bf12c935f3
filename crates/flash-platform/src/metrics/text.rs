//! The text of all metrics.
use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, prometheus_text},
    registry::Registry,
};

use super::{app, gpus, models, numbers::Numbers, platform, process::ProcessNumbers, workers};

/// Of the text that [`render`] writes.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics of a platform.
pub(crate) fn render(mut numbers: Numbers) -> String {
    let process = numbers.process.take();
    let numbers = Arc::new(numbers);
    let mut own = Registry::with_prefix("flash");
    own.register_collector(Box::new(Platform(numbers.clone())));
    // Under the names that all programs use for them, without a prefix.
    let mut standard = Registry::default();
    if let Some(process) = process {
        standard.register_collector(Box::new(Process(process)));
    }
    let mut apps = Registry::default();
    apps.register_collector(Box::new(App(numbers)));
    let mut text = String::new();
    for registry in [own, standard, apps] {
        prometheus_text::encode(&mut text, &registry).expect("writing to a string does not fail");
    }
    text
}

#[derive(Debug)]
struct Platform(Arc<Numbers>);

impl Collector for Platform {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Self(numbers) = self;
        let metrics = platform::metrics(numbers).into_iter();
        let metrics = metrics.chain(workers::metrics(numbers)).chain(models::metrics(&numbers.types));
        metrics.chain(gpus::metrics(&numbers.gpus)).try_for_each(|metric| metric.write(&mut encoder))
    }
}

#[derive(Debug)]
struct App(Arc<Numbers>);

impl Collector for App {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        app::metrics(&self.0.types).into_iter().try_for_each(|metric| metric.write(&mut encoder))
    }
}

#[derive(Debug)]
struct Process(ProcessNumbers);

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        platform::of_process(&self.0).into_iter().try_for_each(|metric| metric.write(&mut encoder))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use flash_protocol::{
        BatchRun, GenerationEnd, Generations, GpuStatus, ModelLoad,
        app_metrics::{AppHistogram, SeriesId},
        catalogue::NanoDollars,
    };
    use prometheus_parse::{Scrape, Value};

    use super::{super::numbers::TypeNumbers, *};
    use crate::{
        app_metrics::{AppSum, Summed},
        counters::{Answers, PostOutcome, Posts},
        meter::{Billing, ChargedTo, OTHERS},
        overview::JobMemory,
        pool::Counts,
        queue::Load,
        tally::{Ending, Tally},
    };

    const SECOND: Duration = Duration::from_secs(1);

    /// Of a worker type that had everything.
    fn type_numbers() -> TypeNumbers {
        let tally = Tally::default();
        tally.name(["embed", "idle"].map(|name| (name.to_owned(), name.to_owned())).into_iter());
        for ending in [Ending::Completed, Ending::Completed, Ending::Failed, Ending::TimedOut] {
            tally.ended(Some("embed"), ending, SECOND / 2, 2 * SECOND);
        }
        tally.charged(Some("embed"), NanoDollars(1_500_000_000));
        tally.ended(Some("what a client made up"), Ending::Cancelled, SECOND, Duration::ZERO);
        tally.worker_started(3 * SECOND);
        tally.worker_crashed();
        let of_batch = |leads| BatchRun {
            size: 3,
            cost: 1,
            total_cost: 3,
            leads,
            prepare_us: 1,
            wait_us: 10,
            run_us: 2_000_000,
        };
        for leads in [true, false, false] {
            tally.ran_in_batch(Some("embed"), &of_batch(leads));
        }
        let mut sums = Generations { prompt_tokens: 43, completion_tokens: 3, ..Generations::default() };
        sums.first_token.record(Duration::from_millis(120));
        sums.between_tokens.record(Duration::from_millis(10));
        sums.between_tokens.record(Duration::from_millis(10));
        sums.ended(GenerationEnd::Length);
        let answers = Answers::default();
        answers.count(Some(http::StatusCode::NOT_FOUND));
        let (completed, failed) = tally.endings();
        TypeNumbers {
            worker_type: "chat".to_owned(),
            counts: Counts { busy: 2, ..Counts::default() },
            workers_max: 3,
            load: Load { waiting: 6, delayed: 1, oldest_wait: SECOND / 4, running: 4, ..Load::default() },
            completed,
            failed,
            functions: tally.calls_of_all(OTHERS),
            times: tally.times(),
            crashed: tally.crashed(),
            answers: answers.all().to_vec(),
            batches: tally.batch_classes(),
            models: vec![("a \"quoted\"\\ name".to_owned(), sums)],
            model_loads: vec![("m".to_owned(), ModelLoad { running: 4, waiting: 5 })],
            app_sums: Vec::new(),
            app_gauges: Vec::new(),
        }
    }

    /// Of a platform with that worker type, and a worker of it that cost a dollar in the second that has begun.
    fn numbers() -> Numbers {
        let billing = Billing::default();
        let account = billing.meter("chat", Some(NanoDollars(1_000_000_000))).open(&"w".into());
        account.spawned(std::time::Instant::now());
        account.ready();
        account.begin().end(Some(&ChargedTo { request_id: "r".into(), function: None }));
        account.gone();
        let posts = Posts::default();
        posts.count(PostOutcome::GaveUp);
        Numbers {
            live: Some(7),
            types: vec![type_numbers()],
            bills: billing.bill(),
            job_memory: Some(JobMemory { held_bytes: 5, limit_bytes: 1 << 30 }),
            gpus: vec![GpuStatus {
                id: "GPU-a".to_owned(),
                name: "NVIDIA L4".to_owned(),
                memory_mib: Some(23_034),
                used_mib: Some(1),
                given_mib: 2,
                busy_percent: Some(35),
                workers: 2,
            }],
            posts: posts.all().to_vec(),
            process: Some(ProcessNumbers {
                cpu_seconds: 1.25,
                open_descriptors: 9,
                max_descriptors: Some(1024),
                resident: 1 << 20,
                virtual_memory: 1 << 30,
                start: 1.5e9,
            }),
        }
    }

    fn scraped(numbers: Numbers) -> (String, Scrape) {
        let text = render(numbers);
        let scrape = Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
        (text, scrape)
    }

    /// The value of the sample with these labels among others.
    fn value(scrape: &Scrape, name: &str, labels: &[(&str, &str)]) -> Value {
        let found = scrape.samples.iter().find(|sample| {
            let has = |(label, value): &(&str, &str)| sample.labels.get(label) == Some(*value);
            sample.metric == name && labels.iter().all(has)
        });
        found.unwrap_or_else(|| panic!("no {name} with {labels:?} in {scrape:?}")).value.clone()
    }

    fn buckets(scrape: &Scrape, name: &str, labels: &[(&str, &str)]) -> Vec<(f64, f64)> {
        match value(scrape, name, labels) {
            Value::Histogram(classes) => {
                classes.into_iter().map(|class| (class.less_than, class.count)).collect()
            }
            other => panic!("{name} is {other:?}"),
        }
    }

    #[test]
    fn the_apps_own_metrics_have_their_names_and_the_labels_of_the_platform() {
        let id = |name: &str, labels: &[(&str, &str)]| SeriesId::of(name, labels.iter().copied()).unwrap();
        let mut prices = AppHistogram::default();
        for price in [0.5, 30.0] {
            prices.record(price);
        }
        let summed = |help: &str, sum| Summed { help: help.to_owned(), sum };
        let gauge = |value| [(id("depth", &[]), (String::new(), value))].into_iter().collect();
        let shop = TypeNumbers {
            worker_type: "shop".to_owned(),
            app_sums: vec![
                (id("orders_total", &[("land", "ch")]), summed("Paid", AppSum::Counter(5))),
                (id("orders_total", &[("land", "de")]), summed("", AppSum::Counter(1))),
                (id("price", &[]), summed("", AppSum::Histogram(prices))),
            ],
            app_gauges: vec![("w1".into(), gauge(1.5)), ("w2".into(), gauge(2.0))],
            ..TypeNumbers::default()
        };
        let (text, scrape) = scraped(Numbers { types: vec![shop], ..Numbers::default() });
        assert_eq!(text.matches("# TYPE orders_total counter").count(), 1, "{text}");
        assert!(text.contains("# HELP orders_total Paid"), "{text}");
        let of_shop = ("worker_type", "shop");
        let orders = value(&scrape, "orders_total", &[of_shop, ("land", "ch")]);
        assert!(matches!(orders, Value::Counter(5.0)), "{orders:?}");
        for (worker, depth) in [("w1", 1.5), ("w2", 2.0)] {
            let found = value(&scrape, "depth", &[of_shop, ("worker", worker)]);
            assert!(matches!(found, Value::Gauge(value) if value == depth), "{found:?}");
        }
        let price = buckets(&scrape, "price", &[of_shop]);
        let up_to = |bound: f64| price.iter().find(|(own, _)| *own == bound).unwrap().1;
        assert_eq!((up_to(0.25), up_to(0.5), up_to(50.0), up_to(f64::INFINITY)), (0.0, 1.0, 2.0, 2.0));
    }

    #[test]
    fn a_parser_of_prometheus_reads_every_number_with_its_labels() {
        let (_, scrape) = scraped(numbers());
        let gauge = |name, labels: &[_]| match value(&scrape, name, labels) {
            Value::Gauge(value) => value,
            other => panic!("{name} is {other:?}"),
        };
        let counter = |name, labels: &[_]| match value(&scrape, name, labels) {
            Value::Counter(value) => value,
            other => panic!("{name} is {other:?}"),
        };
        let of_chat = [("worker_type", "chat")];
        assert_eq!(gauge("flash_workers", &[("state", "busy")]), 2.0);
        assert_eq!(gauge("flash_workers_max", &of_chat), 3.0);
        assert_eq!(gauge("flash_calls_waiting", &of_chat), 7.0);
        assert_eq!(gauge("flash_calls_running", &of_chat), 4.0);
        assert_eq!(gauge("flash_oldest_waiting_call_age_seconds", &of_chat), 0.25);
        assert_eq!(gauge("flash_model_answers_running", &[("model", "m")]), 4.0);
        assert_eq!(gauge("flash_live_release", &[]), 7.0);
        assert_eq!(gauge("flash_job_memory_bytes", &[]), 5.0);
        assert_eq!(gauge("process_resident_memory_bytes", &[]), 1_048_576.0);
        assert_eq!(gauge("process_max_fds", &[]), 1024.0);
        let of_gpu = [("gpu", "GPU-a"), ("name", "NVIDIA L4")];
        assert_eq!(gauge("flash_gpu_memory_bytes", &of_gpu), 23_034.0 * 1_048_576.0);
        assert_eq!(gauge("flash_gpu_memory_used_bytes", &of_gpu), 1_048_576.0);
        assert_eq!(gauge("flash_gpu_memory_given_bytes", &of_gpu), 2_097_152.0);
        assert_eq!(gauge("flash_gpu_utilization_ratio", &of_gpu), 0.35);
        assert_eq!(gauge("flash_gpu_workers", &of_gpu), 2.0);
        assert_eq!(counter("process_cpu_seconds_total", &[]), 1.25);
        assert_eq!(counter("flash_calls_total", &[("outcome", "failed")]), 2.0);
        for (function, outcome, count) in [
            ("embed", "completed", 2.0),
            ("embed", "failed", 1.0),
            ("embed", "timed_out", 1.0),
            ("idle", "completed", 0.0),
            ("*", "cancelled", 1.0),
        ] {
            let labels = [("function", function), ("outcome", outcome)];
            assert_eq!(counter("flash_function_calls_total", &labels), count, "{labels:?}");
        }
        assert_eq!(counter("flash_function_cost_dollars_total", &[("function", "embed")]), 1.5);
        assert_eq!(counter("flash_cost_dollars_total", &of_chat), 1.0);
        assert_eq!(counter("flash_worker_starts_total", &of_chat), 1.0);
        assert_eq!(counter("flash_worker_crashes_total", &of_chat), 1.0);
        assert!(counter("flash_worker_seconds_total", &[("activity", "start")]) > 0.0);
        assert_eq!(counter("flash_requests_total", &[("code", "4xx")]), 1.0);
        assert_eq!(counter("flash_webhook_posts_total", &[("outcome", "gave_up")]), 1.0);
        assert_eq!(counter("flash_model_answers_total", &[("finish_reason", "length")]), 1.0);
    }

    #[test]
    fn histograms_are_cumulative_as_prometheus_wants_them() {
        let (text, scrape) = scraped(numbers());
        let sizes = buckets(&scrape, "flash_batch_size", &[("function", "embed")]);
        assert_eq!(sizes[..4], [(1.0, 0.0), (2.0, 0.0), (4.0, 1.0), (8.0, 1.0)]);
        let between = buckets(&scrape, "flash_model_inter_token_latency_seconds", &[("worker_type", "chat")]);
        assert_eq!(between[2], (0.01, 2.0));
        assert_eq!(between.last(), Some(&(f64::INFINITY, 2.0)));
        for (name, bound, count) in [
            ("flash_call_wait_seconds", 0.5, 4.0),
            ("flash_call_run_seconds", 2.5, 4.0),
            ("flash_worker_start_seconds", 5.0, 1.0),
        ] {
            let all = buckets(&scrape, name, &[("worker_type", "chat")]);
            let at = all.iter().position(|(less, _)| *less == bound).unwrap();
            assert_eq!((all[at - 1].1, all[at].1, all.last().unwrap().1), (0.0, count, count), "{name}");
        }
        assert!(text.contains("flash_call_run_seconds_sum{worker_type=\"chat\"} 8"), "{text}");
    }

    #[test]
    fn names_are_written_once_with_help_and_type_and_labels_are_escaped() {
        let mut two = numbers();
        two.types.push(TypeNumbers { worker_type: "other".into(), ..type_numbers() });
        let (text, _) = scraped(two);
        for kind in ["# HELP ", "# TYPE "] {
            let mut names: Vec<&str> =
                text.lines().filter_map(|line| line.strip_prefix(kind)?.split(' ').next()).collect();
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert!(all > 40 && names.len() == all, "{text}");
        }
        assert!(text.contains(r#"model="a \"quoted\"\\ name""#), "{text}");
        // Prometheus refuses a text that has the same sample twice.
        let mut series = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, _) = line.rsplit_once(' ').unwrap();
            assert!(series.insert(name, line).is_none(), "{name} is there twice");
        }
    }

    #[test]
    fn what_the_driver_of_a_gpu_does_not_say_is_left_out() {
        let silent = GpuStatus {
            id: "0".to_owned(),
            name: "0".to_owned(),
            memory_mib: None,
            used_mib: None,
            given_mib: 0,
            busy_percent: None,
            workers: 0,
        };
        let (text, _) = scraped(Numbers { gpus: vec![silent], ..Numbers::default() });
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("flash_gpu")).collect();
        let labels = r#"{gpu="0",name="0"}"#;
        assert_eq!(
            lines,
            [format!("flash_gpu_memory_given_bytes{labels} 0"), format!("flash_gpu_workers{labels} 0")]
        );
    }

    #[test]
    fn a_worker_type_has_no_metrics_of_what_it_never_had() {
        let idle = TypeNumbers { worker_type: "w".into(), ..TypeNumbers::default() };
        let billing = Billing::default();
        billing.meter("w", None);
        let (text, _) = scraped(Numbers { types: vec![idle], bills: billing.bill(), ..Numbers::default() });
        assert!(text.contains("flash_workers") && text.contains("flash_worker_starts_total"), "{text}");
        for name in
            ["flash_batch", "flash_model", "_dollars", "flash_requests", "process_", "live_release", "_gpu_"]
        {
            assert!(!text.contains(name), "{name} in {text}");
        }
    }

    /// The page that documents the metrics names each of them, and no other.
    #[test]
    fn the_documentation_names_each_metric_with_its_type_and_its_labels() {
        let (text, scrape) = scraped(numbers());
        let page = include_str!("../../../../docs/metrics.md");
        let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let documented =
            page.lines().filter(|line| line.starts_with("| `flash_") || line.starts_with("| `process_"));
        let documented = documented.count();
        let mut all = 0;
        for (name, kind) in kinds {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
            assert!(row.is_some_and(|row| row.contains(kind)), "docs/metrics.md does not say {name}: {kind}");
            all += 1;
        }
        assert_eq!(documented, all);
        // These are told for whole sections.
        let of_sections = ["worker_type", "function", "model", "gpu", "name"];
        for sample in &scrape.samples {
            let name = ["_sum", "_count"].iter().find_map(|end| sample.metric.strip_suffix(end));
            let start = format!("| `{}` |", name.unwrap_or(&sample.metric));
            let row = page.lines().find(|line| line.starts_with(&start)).unwrap();
            for (label, value) in sample.labels.iter() {
                let is_said = of_sections.contains(&label.as_str()) || row.contains(&format!("`{label}`"));
                assert!(is_said, "docs/metrics.md does not say that {} has {label}={value}", sample.metric);
                let is_value_said = label == "version" || row.contains(&format!("`{value}`"));
                assert!(of_sections.contains(&label.as_str()) || is_value_said, "{}: {value}", sample.metric);
            }
        }
    }
}
