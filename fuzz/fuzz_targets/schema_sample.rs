#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| flash_cli::fuzzing::run("schema_sample", data));
