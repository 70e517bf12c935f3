//! Limits of workers that a person sets beside a release.
use serde::{Deserialize, Serialize};

/// New limits for a worker type, at once and without a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "snake_case")]
pub enum ScaleChange {
    /// These; `None` leaves a limit as it is.
    Limits {
        /// The number of workers that run even without work.
        min: Option<u32>,
        /// The largest number of workers.
        max: Option<u32>,
        /// When the release's own limits are back, in seconds from now; `None`: with the next release.
        for_seconds: Option<u64>,
    },
    /// Those of the release.
    Release,
}

/// The limits of a worker type as a person has set them, beside those of the release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManualScale {
    /// The worker type.
    pub worker: String,
    /// The number of workers that run even without work.
    pub workers_min: u32,
    /// The largest number of workers.
    pub workers_max: u32,
    /// When they were set, in milliseconds since 1970; 0 where the target does not know.
    pub set_ms: u64,
    /// When they end, in milliseconds since 1970; `None`: with the next release.
    pub until_ms: Option<u64>,
}

/// Largest number of workers of one type, as in `#[remote]`.
const MAX_WORKERS: u32 = 1000;

impl ScaleChange {
    /// The limits that follow from these, in order minimum and maximum.
    ///
    /// # Errors
    /// Why they make no sense together.
    pub fn limits(self, current: (u32, u32), of_release: (u32, u32)) -> Result<(u32, u32), String> {
        let Self::Limits { min, max, .. } = self else { return Ok(of_release) };
        let (min, max) = (min.unwrap_or(current.0), max.unwrap_or(current.1));
        if max == 0 || max > MAX_WORKERS {
            return Err(format!("the maximum must be 1 to {MAX_WORKERS} workers, not {max}"));
        }
        if min > max {
            return Err(format!("the minimum of {min} workers is above the maximum of {max}: set both"));
        }
        Ok((min, max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_not_given_stays_and_both_must_fit() {
        let to = |min, max| ScaleChange::Limits { min, max, for_seconds: None }.limits((1, 3), (0, 2));
        assert_eq!(to(Some(2), None), Ok((2, 3)));
        assert_eq!(to(None, Some(5)), Ok((1, 5)));
        assert_eq!(ScaleChange::Release.limits((1, 3), (0, 2)), Ok((0, 2)));
        assert!(to(Some(4), None).unwrap_err().contains("minimum of 4 workers is above the maximum of 3"));
        assert!(to(None, Some(0)).unwrap_err().contains("1 to 1000 workers, not 0"));
        assert!(to(None, Some(1001)).is_err());
    }
}
