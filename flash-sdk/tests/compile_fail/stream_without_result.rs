//! A chunk can fail to arrive.
use flash_sdk::remote;
use futures_util::{Stream, stream};

#[remote(cpu = Cpu3c_1_2)]
fn work() -> impl Stream<Item = u32> {
    stream::iter([1])
}

fn main() {}
