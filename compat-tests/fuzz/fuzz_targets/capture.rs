#![no_main]

compat_tests::fuzz_target!("capture");
