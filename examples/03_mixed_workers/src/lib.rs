//! The part of the mixed-workers example that is not about workers: its sentiment model.
//!
//! It is a library so that two programs share it: the example's workers, which classify, and `train`,
//! which makes the weights. Whatever decides how a sentence becomes numbers lives here once; a second
//! copy in the training program would drift and quietly cost accuracy.
pub mod model;
