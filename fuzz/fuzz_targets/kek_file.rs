#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| burnbag_fuzz::kek_file::run(data));
