//! Randomness of waits, so that those who failed together do not return together.

/// A random number from 0 to 1.
pub(crate) fn jitter() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}
