//! The life cycle of releases: start, readiness, switch, drain, end.
//!
//! A job runs on the release that accepted it. A replaced release keeps running next to the live one until it is idle
//! or, with [`Retire::AfterLongestRun`], until its time is up and the live release takes the rest. A release that a
//! previous platform left unfinished can be resumed: it takes its jobs from the store, but no new traffic.
use std::sync::{Arc, atomic::Ordering};

use flash_logs::LogLine;
use futures_util::{StreamExt as _, stream::FuturesUnordered};

use super::{
    error::DeployError,
    launch::{self, Artifact, Launch},
    options::Retire,
    platform::Platform,
    pool::{self, NotReady, Pool},
    queue::Claim,
    release::{NewRelease, Release},
    releases::Expected,
};

/// A release that is starting. If this is dropped before the release is live, the release ends.
struct Starting<'a> {
    platform: &'a Platform,
    release: Option<Arc<Release>>,
}

impl<'a> Starting<'a> {
    fn new(platform: &'a Platform, release: &Arc<Release>) -> Self {
        platform.shared.releases.set_starting(Some(release.clone()));
        Self { platform, release: Some(release.clone()) }
    }

    /// It is live.
    fn arrived(mut self) {
        self.release = None;
        self.platform.shared.releases.set_starting(None);
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        let Some(release) = self.release.take() else { return };
        release.close();
        release.kill();
        // While the platform stops, it stays registered, so that its workers are waited for.
        if !self.platform.is_stopping() {
            self.platform.keep_until_ended(&release);
            self.platform.shared.releases.set_starting(None);
        }
    }
}

impl Platform {
    /// A release that did not go live stays known until its last worker has ended. Otherwise requests of its workers
    /// would be refused and logged as errors.
    fn keep_until_ended(&self, release: &Arc<Release>) {
        // Without a runtime, no worker can send requests.
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (releases, release) = (self.shared.releases.clone(), release.clone());
        releases.tear_down(release.clone());
        self.shared.context.tasks.spawn(async move {
            release.ended().await;
            releases.forget_torn_down(&release);
        });
    }

    /// Starts a new release next to the live one: its workers start, traffic moves when they are ready, and the old
    /// ones drain. `on_ready` is called for each worker type that is ready. Dropping the future early ends the new
    /// release.
    ///
    /// # Errors
    /// If its workers do not become ready. Then nothing has changed.
    pub async fn deploy(&self, new: NewRelease, mut on_ready: impl FnMut(&str)) -> Result<(), DeployError> {
        let _alone = self.shared.deploying.lock().await;
        let release = self.release(new);
        let old = self.shared.releases.live();
        let starting = Starting::new(self, &release);
        self.ready(&release, old.as_deref(), &mut on_ready).await?;
        self.run(&release);
        let claim = match self.shared.retire {
            Retire::AfterLongestRun => Claim::All,
            Retire::WhenIdle => Claim::OwnAndUnknown,
        };
        self.adopt(&release, claim);
        let old = self.shared.releases.go_live(Some(release));
        starting.arrived();
        if let Some(old) = old {
            self.retire(old);
        }
        Ok(())
    }

    /// Makes a release, without workers.
    fn release(&self, new: NewRelease) -> Arc<Release> {
        let NewRelease {
            number,
            mut manifest,
            commands,
            artifact,
            programs,
            directory,
            environment,
            prices,
            models,
        } = new;
        for command in &commands {
            if manifest.worker(&command.worker_type.name).is_none() {
                manifest.workers.push(command.worker_type.clone());
            }
        }
        let next = &self.shared.next_release;
        let number = match number {
            Some(number) => {
                next.fetch_max(number.saturating_add(1), Ordering::Relaxed);
                number
            }
            None => next.fetch_add(1, Ordering::Relaxed),
        };
        if matches!(artifact, Artifact::Images(_) | Artifact::Pods(_)) || programs.is_some() {
            self.shared.has_containers.store(true, Ordering::Relaxed);
        }
        let platform = match &artifact {
            Artifact::Pods(pods) => pods.cluster.platform_url().to_owned(),
            _ => self.worker_url(),
        };
        let launch = Launch {
            release: number,
            artifact,
            programs,
            directory,
            environment,
            endpoints: launch::endpoint_map(&manifest, &platform),
            platform,
            pods: self.shared.context.pods.clone(),
            commands: commands.into(),
            models: models.into(),
            drain_seconds: self.shared.context.drain_time.as_secs(),
            ping_interval: self.shared.context.supervision.ping_interval(),
        };
        Arc::new(Release::new(number, manifest, &launch, &self.shared.context, &prices))
    }

    /// Starts the scaling of a release's pools.
    fn run(&self, release: &Release) {
        for pool in release.pools() {
            self.shared.context.tasks.spawn(pool::run(pool.clone()));
        }
    }

    /// Numbers of the releases with open jobs in the store that no release has taken over yet.
    pub fn stored_releases(&self) -> Vec<u64> {
        let backlog = self.shared.backlog.lock();
        backlog.releases().into_iter().collect()
    }

    /// Restores an older release to finish its jobs. It gets no new traffic, and ends when they are done. Can be
    /// called before the live release is deployed, so that its jobs are always available.
    #[expect(clippy::unused_async, reason = "its callers need not know that nothing is waited for")]
    pub async fn resume(&self, old: NewRelease) {
        if self.is_stopping() {
            return;
        }
        let mut old = old;
        let own = old.manifest.workers.iter_mut();
        // Its jobs start the workers that they need; no other workers are needed.
        own.chain(old.commands.iter_mut().map(|command| &mut command.worker_type))
            .for_each(|worker_type| worker_type.workers_min = 0);
        let release = self.release(old);
        self.shared.releases.add_past(release.clone());
        self.adopt(&release, Claim::Own);
        self.run(&release);
        self.retire(release);
    }

    /// Gives the live release all stored jobs that no release has taken over, because nothing else will run them.
    /// Call it after all older releases that can be resumed were resumed.
    pub fn adopt_rest(&self) {
        let Some(live) = self.shared.releases.live() else { return };
        self.adopt(&live, Claim::All);
    }

    /// Drains the live release without a replacement.
    pub async fn undeploy(&self) {
        let _alone = self.shared.deploying.lock().await;
        self.expect(Expected::Nothing);
        if let Some(old) = self.shared.releases.go_live(None) {
            self.retire(old);
        }
    }

    /// Gives a release jobs that an earlier platform left to its endpoints.
    fn adopt(&self, release: &Release, claim: Claim) {
        let mut backlog = self.shared.backlog.lock();
        backlog.delete_due(&self.shared.context.queues);
        for queue in release.pools().filter_map(|pool| pool.queue()) {
            queue.adopt(&mut backlog, claim);
        }
        // Jobs of other endpoints may be in another release.
        let left = backlog.unclaimed().filter(|(_, open)| claim == Claim::All && *open > 0);
        for (endpoint, open) in left {
            let text = format!("{open} stored jobs wait for this worker type, which the app no longer has");
            (self.shared.context.log)(LogLine::system(endpoint, None, text));
        }
    }

    /// Starts workers of each type that has workers now, has a minimum, or must prove that it can start, and waits
    /// for them.
    async fn ready(
        &self,
        release: &Release,
        old: Option<&Release>,
        on_ready: &mut impl FnMut(&str),
    ) -> Result<(), DeployError> {
        let has_workers =
            |name: &str| old.and_then(|old| old.pool(name)).is_some_and(|pool| !pool.phases().is_empty());
        let proves_itself = self.shared.retire == Retire::WhenIdle;
        let mut starting = FuturesUnordered::new();
        for pool in release.pools() {
            let worker_type = &pool.worker_type;
            let warm = usize::from(proves_itself || has_workers(&worker_type.name));
            let count = warm.max(worker_type.workers_min as usize).min(worker_type.workers_max as usize);
            (0..count).for_each(|_| pool::start(pool));
            if count > 0 {
                starting.push(one_ready(pool, count));
            }
        }
        while let Some(ready) = starting.next().await {
            on_ready(ready?);
        }
        Ok(())
    }

    /// Lets a replaced release finish its accepted work, then stops its workers.
    fn retire(&self, old: Arc<Release>) {
        let (platform, closing) = (self.clone(), self.shared.closing.clone());
        let retire = self.shared.retire;
        let limit = old.longest_run() + self.shared.context.drain_time;
        let time_is_over = async move {
            match retire {
                Retire::AfterLongestRun => tokio::time::sleep(limit).await,
                Retire::WhenIdle => std::future::pending().await,
            }
        };
        self.shared.context.tasks.spawn(async move {
            tokio::select! {
                () = old.idle() => {}
                () = time_is_over => {}
                () = closing.cancelled() => {}
            }
            old.close();
            if !closing.is_cancelled() {
                old.ended().await;
                platform.hand_over(&old).await;
                platform.shared.releases.forget_ended();
            }
        });
    }

    /// Jobs of a release that has ended continue in the live one; if none is live, results stay.
    async fn hand_over(&self, old: &Release) {
        let live = self.shared.releases.live();
        for pool in old.pools() {
            let Some(queue) = pool.queue() else { continue };
            match live.as_ref().and_then(|live| live.pool(&pool.worker_type.name)?.queue()) {
                Some(successor) => queue.hand_over(successor).await,
                None => queue.give_up_waiting().await,
            }
        }
    }
}

/// Returns the worker type's name once this many of its workers are ready.
async fn one_ready(pool: &Pool, count: usize) -> Result<&str, DeployError> {
    let limit = pool.worker_type.start_timeout() + pool.placement_allowance();
    let ready = tokio::time::timeout(limit, pool.wait_ready(count)).await;
    let ready = ready.unwrap_or_else(|_| {
        Err(NotReady { reason: pool.not_ready_in_time(), last_lines: pool.last_lines() })
    });
    let worker_type = &pool.worker_type.name;
    ready.map(|()| worker_type.as_str()).map_err(|NotReady { reason, last_lines }| DeployError::NotReady {
        worker_type: worker_type.clone(),
        reason,
        last_lines,
    })
}
