//! What both sides of the benchmark share: the pipeline's stages as plain functions, and their types.
//!
//! Each side carries the data between the stages in its own way; the stages are the same code, so that
//! nothing but the carrying is compared.
pub mod stages;
