#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| flash_fuzz::run("host_and_origin", data));
