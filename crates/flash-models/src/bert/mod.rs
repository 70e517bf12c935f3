//! Encoders like BERT: texts to vectors, in batches of about one length.
mod batch;
mod encoder;
mod load;
mod network;
mod packed;
mod queue;

pub use encoder::{Encoder, EncoderOptions};
pub use load::{bert, bert_with};
pub use network::Precision;
