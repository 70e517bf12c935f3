//! A function that makes a router has no route, no arguments and no jobs beside it.
use std::sync::Arc;

use flash_sdk::{Result, remote};

struct Router;

#[remote(cpu = Cpu3c_1_2, http, method = GET, path = "/a")]
fn with_a_route() -> Router {
    Router
}

#[remote(worker = "a", http = "/chat/{room}", retries = 3)]
fn with_a_parameter() -> Router {
    Router
}

#[remote(worker = "a", http)]
fn with_an_argument(name: String) -> Router {
    Router
}

#[remote(worker = "a", http)]
fn without_a_router() {}

struct Chat;

#[remote(cpu = Cpu3c_1_2, http)]
impl Chat {
    #[init]
    fn open() -> Self {
        Self
    }

    #[http("/chat")]
    fn routes(self) -> impl Send {
        Router
    }

    #[http]
    fn again(self: Arc<Self>) -> Router {
        Router
    }

    pub fn job(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
