//! `docs/getting-started.md` and the tutorials, typed as they are written: each command works, and answers what the page says.
use crate::support::{reader::read, schemathesis::python};

#[test]
fn every_command_of_the_page_does_what_the_page_says() {
    assert!(read("getting-started.md") > 15);
}

#[test]
fn the_tutorial_of_a_pipeline_works_as_it_is_written() {
    assert!(read("tutorial-pipeline.md") > 8);
}

#[test]
fn the_tutorial_of_a_python_worker_works_as_it_is_written() {
    if python().is_some() {
        assert!(read("tutorial-python.md") > 6);
    }
}
