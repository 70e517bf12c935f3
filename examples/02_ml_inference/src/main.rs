//! Chat by SmolLM2 and embeddings by MiniLM, behind OpenAI's API.
mod chat;
mod embeddings;

#[flash_sdk::main]
async fn main() {}
