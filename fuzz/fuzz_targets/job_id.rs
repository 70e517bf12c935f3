#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| flash_fuzz::run("job_id", data));
