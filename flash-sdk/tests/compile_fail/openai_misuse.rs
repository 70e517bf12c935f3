//! Models have names, and a function that returns them takes nothing and has no other router.
use flash_sdk::{openai::Models, remote};

#[remote(cpu = Cpu3c_1_2, openai = "one name")]
fn with_a_bad_name() -> Models {
    Models::new()
}

#[remote(worker = "a", openai = "one", http = "/v1")]
fn with_a_router() -> Models {
    Models::new()
}

#[remote(worker = "a", openai = 7)]
fn with_an_argument(_path: String) -> Models {
    Models::new()
}

#[remote(worker = "a", openai = "one")]
fn without_models() {}

struct Chat;

#[remote(cpu = Cpu3c_1_2, openai = "one")]
impl Chat {
    #[init]
    fn load() -> Self {
        Self
    }

    #[openai("one")]
    fn models(&self) -> Models {
        Models::new()
    }
}

fn main() {}
