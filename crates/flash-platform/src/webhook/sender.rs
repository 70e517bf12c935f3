//! The delivery loop: takes ends of jobs from queues, starts deliveries, and retries failed ones.
use std::{sync::Arc, time::Duration};

use flash_logs::{LogLine, Sink};
use reqwest::Url;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    allowed_networks::AllowedNetworks,
    post::{Poster, Refusal},
    receiver_queues::{Limits, Receiver, ReceiverQueues},
    secret::Secret,
};
use crate::{
    counters::{PostOutcome, Posts},
    queue::{JobEnded, MAX_UNDELIVERED, Store},
};

/// Pauses before each further try, as observed of the provider: three tries at 0, 5 and 20 seconds. Not `flash_http::retry`:
/// receivers are told these times, so they are exact, and a delivery that waits is none of the running POSTs.
const PAUSES: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(15)];
/// Maximum number of running POSTs. A pause before a retry does not count.
const LIMITS: Limits = Limits { all: 256, per_receiver: 16 };
/// The interval of checks whether a failing store accepts writes again.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// Delivers until the platform closes.
pub(crate) struct WebhookSender {
    pub secret: Secret,
    pub allowed_networks: AllowedNetworks,
    pub store: Store,
    pub log: Sink,
    pub closing: CancellationToken,
    /// Counts what it does.
    pub posts: Arc<Posts>,
}

/// An end, and how often its receiver has refused it.
struct Delivery {
    ended: JobEnded,
    refused: usize,
}

/// A delivery to try again.
struct Again {
    delivery: Delivery,
    after: Duration,
}

impl WebhookSender {
    /// See the type.
    pub(crate) async fn run(self, mut ends: mpsc::Receiver<JobEnded>) {
        let poster = match Poster::new(self.secret.clone(), self.allowed_networks.clone()) {
            Ok(poster) => poster,
            Err(error) => {
                self.say(format!("webhooks are off: could not create the HTTP client: {error}"));
                return;
            }
        };
        let sender = Arc::new(self);
        let mut queues = ReceiverQueues::new(LIMITS);
        let (mut posts, mut pauses) = (JoinSet::new(), JoinSet::new());
        loop {
            while let Some((receiver, delivery)) = queues.start_next() {
                let (sender, poster) = (sender.clone(), poster.clone());
                posts.spawn(async move { (receiver, sender.attempt(&poster, delivery).await) });
            }
            // Waiting deliveries are limited like those in the channel; the rest is delivered after the next start.
            let has_room = queues.waiting() + pauses.len() < MAX_UNDELIVERED;
            let delivery = tokio::select! {
                () = sender.closing.cancelled() => break,
                Some(Ok((receiver, next))) = posts.join_next() => {
                    queues.ended(&receiver);
                    if let Some(Again { delivery, after }) = next {
                        pauses.spawn(async move {
                            tokio::time::sleep(after).await;
                            delivery
                        });
                    }
                    continue;
                }
                Some(Ok(delivery)) = pauses.join_next() => delivery,
                next = ends.recv(), if has_room => match next {
                    Some(ended) => Delivery { ended, refused: 0 },
                    None => break,
                },
            };
            queues.arrive(&receiver_of(&delivery.ended.url), delivery);
        }
        // Deliveries in progress are sent again after the next start.
        posts.shutdown().await;
        pauses.shutdown().await;
    }

    /// `None` if the delivery has ended, whether it succeeded or was given up.
    async fn attempt(&self, poster: &Poster, mut delivery: Delivery) -> Option<Again> {
        if delivery.ended.committed(&self.store).await.is_err() {
            return Some(Again { delivery, after: STORE_RETRY });
        }
        let refusal = match poster.post(&delivery.ended).await {
            Ok(()) => None,
            Err(Refusal::ForNow(reason)) => match PAUSES.get(delivery.refused) {
                Some(pause) => {
                    delivery.refused += 1;
                    self.posts.count(PostOutcome::Failed);
                    return Some(Again { delivery, after: *pause });
                }
                None => Some(format!("gave up after {} attempts: {reason}", delivery.refused + 1)),
            },
            Err(Refusal::ForGood(reason)) => Some(format!("gave up: {reason}")),
        };
        self.posts.count(if refusal.is_none() { PostOutcome::Delivered } else { PostOutcome::GaveUp });
        if let Some(refusal) = refusal {
            self.say(format!("webhook of job {}: {refusal}", delivery.ended.job.id));
        }
        delivery.ended.mark_delivered(&self.store);
        None
    }

    fn say(&self, text: String) {
        (self.log)(LogLine::system("webhook", None, text));
    }
}

/// The receiver of a URL. Invalid URLs share a queue, and their deliveries fail at once.
fn receiver_of(url: &str) -> Receiver {
    let url = Url::parse(url).ok();
    let authority = url.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    authority.map_or_else(|| "".into(), |(host, port)| format!("{host}:{port}").into())
}
