//! The stream of a method moves between threads too.
use std::rc::Rc;

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
        let one = Rc::new(1);
        stream::iter((0..1).map(move |_| Ok(*one)))
    }
}

fn main() {}
