//! What a failure of candle means: whether a smaller call may fit.
use crate::EngineError;

/// How CUDA's driver and cuBLAS name that there is no memory left.
///
/// They are looked for in the text of the error: their types exist only in builds with CUDA, where candle hides them behind
/// `dyn Error`, while the names are part of CUDA's interface.
const OUT_OF_MEMORY: [&str; 2] = ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"];

/// A failed pass of the model. The message has one line, for the client; the source has the rest, for the log.
pub(crate) fn engine_error(error: candle_core::Error) -> EngineError {
    let text = error.to_string();
    let message = text.lines().next().unwrap_or("candle failed");
    let is_out_of_memory = OUT_OF_MEMORY.iter().any(|name| text.contains(name));
    let failed =
        if is_out_of_memory { EngineError::out_of_memory(message) } else { EngineError::new(message) };
    failed.with_source(error)
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use candle_core::Error;

    use super::*;
    use crate::EngineErrorKind::{Other, OutOfMemory};

    /// Prints as the errors of cudarc do.
    #[derive(Debug)]
    struct Driver(&'static str);

    impl fmt::Display for Driver {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str(self.0)
        }
    }

    impl std::error::Error for Driver {}

    #[test]
    fn no_memory_left_is_told_from_other_failures_however_candle_wraps_it() {
        let full =
            || Error::Cuda(Box::new(Driver("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")")));
        for (error, kind) in [
            (full(), OutOfMemory),
            (full().bt(), OutOfMemory),
            (full().context("matmul"), OutOfMemory),
            (Error::Cuda(Box::new(Driver("CublasError(CUBLAS_STATUS_ALLOC_FAILED)"))), OutOfMemory),
            (Error::Cuda(Box::new(Driver("DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"an illegal\")"))), Other),
            (Error::Msg("shape mismatch".to_owned()), Other),
        ] {
            let said = error.to_string();
            let error = engine_error(error);
            assert_eq!(error.kind(), kind, "{said}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
}
