//! A function that streams is not async itself.
use flash_sdk::{Result, remote};
use futures_util::{Stream, stream};

#[remote(cpu = Cpu3c_1_2)]
async fn work() -> impl Stream<Item = Result<u32>> {
    stream::iter([Ok(1)])
}

fn main() {}
