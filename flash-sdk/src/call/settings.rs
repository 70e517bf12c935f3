//! What a call asks for beyond its arguments.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flash_protocol::{
    Error, ErrorKind, Result,
    wire::{envelope::Envelope, job::Policy},
};

/// Whether a call is one of many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Fanout {
    #[default]
    Single,
    /// One of many calls made at once, as by `map`.
    Many,
}

/// The settings of one call.
#[derive(Debug, Clone, Default)]
pub struct CallSettings {
    pub(crate) policy: Policy,
    /// Instead of the function's own.
    pub(crate) retries: Option<u32>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) fanout: Fanout,
    /// The environment to call; `None` for where the function is deployed.
    pub(crate) environment: Option<String>,
}

/// The longest idempotency key.
const MAX_KEY_BYTES: usize = 255;

impl CallSettings {
    /// One of many calls made at once. A key names one call, so each gets its own.
    pub(crate) fn of_many(&self, index: usize) -> Self {
        let idempotency_key = self.idempotency_key.as_ref().map(|key| format!("{key}-{index}"));
        Self { fanout: Fanout::Many, idempotency_key, ..self.clone() }
    }

    /// Refuses settings that a platform would refuse, here as there.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`], with what is expected.
    pub(crate) fn check(&self, function: impl FnOnce() -> String) -> Result<()> {
        let Self { policy, idempotency_key, .. } = self;
        let times = [
            ("timeout", policy.execution_timeout, Policy::EXECUTION_TIMEOUT),
            ("ttl", policy.ttl, Policy::TTL),
        ];
        for (option, given, allowed) in times {
            if let Some(given) = given.filter(|given| !allowed.contains(given)) {
                let (given, least) = (Duration::from_millis(given), Duration::from_millis(*allowed.start()));
                let message = format!(
                    "call to `{}` refused: its `{option}` is {given:?}, expected {least:?} to 7 days",
                    function()
                );
                return Err(Error::new(ErrorKind::Refused, message));
            }
        }
        let visible = |key: &String| {
            (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
        };
        match idempotency_key {
            Some(key) if !visible(key) => {
                let message = format!(
                    "call to `{}` refused: its idempotency key must be 1 to {MAX_KEY_BYTES} visible ASCII \
                     characters",
                    function()
                );
                Err(Error::new(ErrorKind::Refused, message))
            }
            _ => Ok(()),
        }
    }

    /// The envelope of a job with these settings.
    pub(super) fn of_job(&self, envelope: Envelope) -> Envelope {
        Envelope { fan_out: self.fanout == Fanout::Many, retries: self.retries, ..envelope }
    }

    /// The envelope of a call that no queue limits: in this process, or to a route. Its time runs from now.
    pub(crate) fn of_direct(&self, mut envelope: Envelope) -> Envelope {
        let Policy { execution_timeout, ttl, .. } = self.policy;
        envelope.retries = self.retries;
        let limit = execution_timeout.into_iter().chain(ttl).min();
        if let Some(limit) = limit {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            let ends = u64::try_from(now).unwrap_or(u64::MAX).saturating_add(limit);
            envelope.deadline_ms = Some(envelope.deadline_ms.map_or(ends, |callers| callers.min(ends)));
        }
        envelope
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(settings: &CallSettings) -> Option<String> {
        settings.check(|| "f".to_owned()).err().map(|error| error.message().to_owned())
    }

    #[test]
    fn a_setting_that_a_platform_would_refuse_is_refused_before_anything_is_sent() {
        let policy = |timeout, ttl| CallSettings {
            policy: Policy { execution_timeout: timeout, ttl, low_priority: true },
            ..CallSettings::default()
        };
        assert_eq!(refusal(&policy(Some(5_000), Some(10_000))), None);
        let week = 7 * 24 * 3600 * 1000;
        assert_eq!(refusal(&policy(Some(week), Some(week))), None);
        assert_eq!(
            refusal(&policy(Some(4_999), None)).unwrap(),
            "call to `f` refused: its `timeout` is 4.999s, expected 5s to 7 days"
        );
        assert!(refusal(&policy(None, Some(week + 1))).unwrap().contains("its `ttl` is"));
        for key in ["", "two words", &"k".repeat(256)] {
            let keyed = CallSettings { idempotency_key: Some(key.to_owned()), ..CallSettings::default() };
            assert!(refusal(&keyed).unwrap().contains("1 to 255 visible ASCII"), "{key}");
        }
    }

    #[test]
    fn each_call_of_a_map_has_a_key_of_its_own() {
        let keyed = CallSettings { idempotency_key: Some("night".to_owned()), ..CallSettings::default() };
        let keys = [0, 1].map(|index| keyed.of_many(index).idempotency_key.unwrap());
        assert_eq!(keys, ["night-0", "night-1"]);
        let retried = CallSettings { retries: Some(2), ..keyed };
        let envelope = retried.of_many(0).of_job(Envelope::default());
        assert_eq!((envelope.fan_out, envelope.retries), (true, Some(2)));
    }

    #[test]
    fn without_a_queue_the_shortest_limit_is_the_deadline() {
        let policy = Policy { execution_timeout: Some(60_000), ttl: Some(10_000), low_priority: false };
        let limited = CallSettings { policy, ..CallSettings::default() };
        let ends = limited.of_direct(Envelope::default()).deadline_ms.unwrap();
        let epoch_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        assert!(u128::from(ends) <= epoch_ms + 10_000);
        let callers = Envelope { deadline_ms: Some(17), ..Envelope::default() };
        assert_eq!(limited.of_direct(callers.clone()).deadline_ms, Some(17), "never later than the caller's");
        assert_eq!(CallSettings::default().of_direct(callers).deadline_ms, Some(17));
    }
}
