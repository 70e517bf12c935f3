//! The values of the `#[remote] impl`s on this worker: made before it takes work, ended after its last.
use std::{sync::Arc, time::Duration};

use flash_protocol::Result;
use tokio_util::sync::CancellationToken;

use super::reports::reports;
use crate::{
    context::{Context, ProgressSink, Setup},
    descriptor::{Function, Lifecycle, RouterFunction, Step},
    panic,
};

/// The values, each once.
pub(super) struct Lifecycles {
    /// With the first function of each, as errors name it: `worker_type/function`.
    all: Vec<(String, &'static Lifecycle)>,
    made: CancellationToken,
}

impl Lifecycles {
    /// The values that these functions and this router need.
    pub(super) fn of(functions: &[&'static Function], router: Option<&'static RouterFunction>) -> Self {
        let of_functions = functions.iter().map(|function| (function.stage(), function.lifecycle));
        let of_router = router.map(|router| (router.stage(), router.lifecycle));
        let mut all: Vec<(String, &Lifecycle)> = Vec::new();
        for (stage, lifecycle) in of_functions.chain(of_router) {
            let Some(lifecycle) = lifecycle.map(|lifecycle| lifecycle()) else { continue };
            if !all.iter().any(|(_, known)| std::ptr::eq(*known, lifecycle)) {
                all.push((stage, lifecycle));
            }
        }
        Self { all, made: CancellationToken::new() }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'static Lifecycle> {
        self.all.iter().map(|(_, lifecycle)| *lifecycle)
    }

    /// Makes all of them.
    ///
    /// # Errors
    /// The first error of an `#[init]`.
    pub(super) async fn init(&self) -> Result<()> {
        for (stage, lifecycle) in &self.all {
            let progress: ProgressSink = Arc::new(|value| reports().loading_value(&value));
            within(Setup { progress: Some(progress), ..Setup::default() }, lifecycle.init)
                .await
                .map_err(|error| error.context(format!("`{stage}` could not be initialised")))?;
        }
        self.made.cancel();
        Ok(())
    }

    /// Waits until all of them are made.
    pub(super) async fn made(&self) {
        self.made.cancelled().await;
    }

    /// Runs each `#[exit]`, the latest value first, all within `limit`. Returns what failed.
    pub(super) async fn exit(&self, limit: Duration) -> Vec<String> {
        let mut failed = Vec::new();
        let ended = async {
            for lifecycle in self.iter().collect::<Vec<_>>().into_iter().rev() {
                let Some(exit) = lifecycle.exit else { continue };
                if let Err(error) = within_no_call(exit).await {
                    failed.push(format!("`#[exit]` of `{}` failed: {error:#}", lifecycle.name));
                }
            }
        };
        if tokio::time::timeout(limit, ended).await.is_err() {
            let limit = limit.as_secs_f64();
            failed.push(format!(
                "`#[exit]` did not end within the {limit:.1} s that were left of the drain time"
            ));
        }
        failed
    }
}

/// Runs a step in a context of its own. A panic is an error.
pub(super) async fn within_no_call(step: Step) -> Result<()> {
    within(Setup::default(), step).await
}

async fn within(setup: Setup, step: Step) -> Result<()> {
    let context = Context::new(setup);
    panic::catch_async(context.scope(async { step().await })).await.and_then(|outcome| outcome)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    };

    use flash_protocol::{CpuInstance, Error, ResourceConfig};

    use super::*;
    use crate::descriptor::{FunctionSettings, Handler, Output, Resource};

    fn function(lifecycle: fn() -> &'static Lifecycle) -> &'static Function {
        Box::leak(Box::new(Function {
            name: "f",
            owner: Some("Model"),
            module_path: "app",
            file: "src/main.rs",
            line: 1,
            docs: "",
            resource: Resource::Declared(ResourceConfig::new("w").cpu(CpuInstance::Cpu3c_1_2)),
            route: None,
            settings: FunctionSettings::new(),
            arguments: &[],
            output: Output::of::<u32>(),
            handler: Handler::Once(|_| unreachable!("never run here")),
            lifecycle: Some(lifecycle),
            binding: OnceLock::new(),
        }))
    }

    fn router(lifecycle: fn() -> &'static Lifecycle) -> &'static RouterFunction {
        Box::leak(Box::new(RouterFunction {
            name: "routes",
            owner: Some("Site"),
            file: "src/main.rs",
            line: 9,
            docs: "",
            resource: Resource::Named("w"),
            prefix: None,
            models: None,
            make: |_| unreachable!("never run here"),
            lifecycle: Some(lifecycle),
        }))
    }

    #[tokio::test]
    async fn a_value_of_several_functions_is_made_and_ended_once_and_a_failing_exit_stops_no_other() {
        static MADE: AtomicU32 = AtomicU32::new(0);
        static ENDED: AtomicU32 = AtomicU32::new(0);
        static GOOD: Lifecycle = Lifecycle {
            name: "Good",
            needs_model: false,
            init: || {
                MADE.fetch_add(1, Ordering::SeqCst);
                Box::pin(async { Ok(()) })
            },
            exit: Some(|| {
                ENDED.fetch_add(1, Ordering::SeqCst);
                Box::pin(async { Ok(()) })
            }),
            health: None,
        };
        static BAD: Lifecycle = Lifecycle {
            name: "Bad",
            needs_model: false,
            init: || Box::pin(async { Ok(()) }),
            exit: Some(|| Box::pin(async { panic!("no disk") })),
            health: None,
        };
        static WORSE: Lifecycle = Lifecycle {
            exit: Some(|| Box::pin(async { Err(Error::handler("no network")) })),
            ..Lifecycle {
                name: "Worse",
                needs_model: false,
                init: || Box::pin(async { Ok(()) }),
                exit: None,
                health: None,
            }
        };
        let lifecycles = Lifecycles::of(
            &[function(|| &GOOD), function(|| &GOOD), function(|| &BAD)],
            Some(router(|| &WORSE)),
        );
        lifecycles.init().await.unwrap();
        lifecycles.made().await;
        let failed = lifecycles.exit(Duration::from_secs(60)).await;
        assert_eq!((MADE.load(Ordering::SeqCst), ENDED.load(Ordering::SeqCst)), (1, 1));
        assert!(
            failed[0].contains("`#[exit]` of `Worse` failed") && failed[0].contains("no network"),
            "{failed:?}"
        );
        assert!(
            failed[1].contains("`#[exit]` of `Bad` failed") && failed[1].contains("no disk"),
            "{failed:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_exit_that_takes_too_long_is_cut_off_and_named() {
        static ENDLESS: Lifecycle = Lifecycle {
            name: "Endless",
            needs_model: false,
            init: || Box::pin(async { Ok(()) }),
            exit: Some(|| Box::pin(std::future::pending())),
            health: None,
        };
        let failed = Lifecycles::of(&[function(|| &ENDLESS)], None).exit(Duration::from_millis(1500)).await;
        assert_eq!(failed, ["`#[exit]` did not end within the 1.5 s that were left of the drain time"]);
    }
}
