//! A stream cannot borrow the value.
use flash_sdk::{Result, remote};
use futures_util::{Stream, stream};

struct Model;

#[remote(cpu = Cpu3c_1_2)]
impl Model {
    #[init]
    fn load() -> Self {
        Self
    }

    pub fn work(&self) -> impl Stream<Item = Result<u32>> {
        stream::iter([Ok(1)])
    }
}

fn main() {}
