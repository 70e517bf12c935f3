//! Where a router is made, and the prefix that it answers.
use flash_sdk::{Result, axum::Router, remote};

#[remote(cpu = Cpu3c_1_2, http = 7)]
fn prefix_without_quotes() -> Router {
    Router::new()
}

#[remote(cpu = Cpu3c_1_2, http = "/")]
fn prefix_of_all() -> Router {
    Router::new()
}

#[remote(cpu = Cpu3c_1_2, http)]
fn outside_of_an_impl(&self) -> Router {
    Router::new()
}

struct Chat;

#[remote(worker = "chat", cpu = Cpu3c_1_2)]
impl Chat {
    #[init]
    fn open() -> Self {
        Self
    }

    #[http]
    fn without_the_value() -> Router {
        Router::new()
    }
}

struct Mixed;

#[remote(worker = "mixed", cpu = Cpu3c_1_2)]
impl Mixed {
    #[init]
    fn open() -> Self {
        Self
    }

    #[http]
    #[route(method = GET, path = "/a")]
    fn routes(&self) -> Router {
        Router::new()
    }

    pub fn job(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {}
