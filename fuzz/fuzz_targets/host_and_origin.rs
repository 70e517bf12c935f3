#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| flash_cli::fuzzing::run("host_and_origin", data));
