//! `docs/getting-started.md` and the tutorials, typed as they are written: each command works, and answers what the page says.
use crate::support::{
    has_models, images::has_engine, reader::Reader, registry::has_programs, root, schemathesis::python,
};

#[test]
fn every_command_of_the_page_does_what_the_page_says() {
    assert!(Reader::new().read("getting-started.md") > 15);
}

#[test]
fn the_tutorial_of_a_pipeline_works_as_it_is_written_and_so_does_its_way_to_runpod() {
    let mut reader = Reader::new();
    assert!(reader.read("tutorial-pipeline.md") > 8);
    if has_programs(&["skopeo"]) && has_engine() {
        reader.open_account();
        assert!(reader.read("tutorial-runpod.md") > 12);
    }
}

#[test]
fn the_tutorial_of_a_python_worker_works_as_it_is_written() {
    if python().is_some() {
        assert!(Reader::new().read("tutorial-python.md") > 6);
    }
}

#[test]
fn the_tutorial_of_a_chat_model_works_as_it_is_written() {
    if python().is_some() && has_models(&["smollm2"]) {
        let weights = root().join("target/test-models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
        let mut reader = Reader::new();
        let model = "bartowski/SmolLM2-135M-Instruct-GGUF";
        reader.publish(model, "SmolLM2-135M-Instruct-Q8_0.gguf", &weights);
        assert!(reader.read("tutorial-chat.md") > 10);
    }
}
