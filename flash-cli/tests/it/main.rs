//! `flash` from outside: the real binary, real processes and a real network, as users and workers meet them.
//!
//! One program, so that what all tests share is compiled and linked once. A file for each subject; `support` is what they
//! share.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod batches;
mod build;
mod bytes;
mod calling;
mod command_workers;
mod conformance;
mod crash;
mod dashboard;
mod dependencies;
mod deploy;
mod deploy_faults;
mod docs_page;
mod doctor;
mod examples;
mod external_images;
mod getting_started;
mod gpus;
mod http;
mod images;
mod init;
mod kept;
mod kubernetes;
mod lifecycle;
mod limits;
mod load_balancing;
mod metering;
mod metrics;
mod mixed_workers;
mod model_images;
mod models;
mod openai;
mod pod;
mod printed;
mod project;
mod queue_api;
mod raw_http;
mod reload;
mod retries;
mod run;
mod runpod;
mod runpod_stand_in;
mod same_answers;
mod schedules;
mod service;
mod streams;
mod supervision;
mod support;
mod tasks;
mod testing;
mod traces;
mod worker_protocol;
