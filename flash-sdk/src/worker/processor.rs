//! Whether this processor has the instructions that the binary was compiled for (`target_cpu`).
//!
//! Without this check, a binary for a newer processor ends with SIGILL, which says nothing. It runs before anything else,
//! and itself consists of instructions that every processor of the architecture has: integers in registers, and calls
//! into the standard library, which is compiled for all of them.

/// Ends the process, with a message, if the processor lacks an instruction set that the binary may use.
#[inline(never)]
pub(super) fn check() {
    #[cfg(target_arch = "x86_64")]
    x86::check();
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::{
        arch::x86_64::{__cpuid, __cpuid_count},
        io::Write as _,
    };

    use flash_protocol::exit_code::OTHER_PROCESSOR;

    /// Defines one set of a register's bits: what the binary needs of it, and the name of each bit.
    macro_rules! needs {
        ($set:ident: $($bit:literal $feature:literal),+) => {
            mod $set {
                /// The bits of the instruction sets that the compiler may use.
                pub(super) const NEEDED: u32 = $(((cfg!(target_feature = $feature) as u32) << $bit))|+;

                pub(super) fn name(missing: u32, say: fn(&str)) {
                    $(if missing & (1 << $bit) != 0 {
                        say(concat!(" ", $feature));
                    })+
                }
            }
        };
    }

    needs!(leaf_1_ecx:
        0 "sse3", 9 "ssse3", 12 "fma", 13 "cmpxchg16b", 19 "sse4.1", 20 "sse4.2", 22 "movbe", 23 "popcnt", 25 "aes",
        28 "avx", 29 "f16c");
    needs!(leaf_7_ebx:
        3 "bmi1", 5 "avx2", 8 "bmi2", 16 "avx512f", 17 "avx512dq", 19 "adx", 21 "avx512ifma", 28 "avx512cd", 29 "sha",
        30 "avx512bw", 31 "avx512vl");
    needs!(leaf_7_ecx:
        1 "avx512vbmi", 6 "avx512vbmi2", 8 "gfni", 9 "vaes", 10 "vpclmulqdq", 11 "avx512vnni", 12 "avx512bitalg",
        14 "avx512vpopcntdq");
    needs!(extended_ecx: 5 "lzcnt", 6 "sse4a", 21 "tbm");

    #[expect(
        clippy::exit,
        reason = "nothing else of the program may run: it could be an instruction that is lacking"
    )]
    pub(super) fn check() {
        let [one, seven, seven_more, extended] = missing();
        if (one | seven | seven_more | extended) == 0 {
            return;
        }
        say("error: this binary needs a processor with");
        leaf_1_ecx::name(one, say);
        leaf_7_ebx::name(seven, say);
        leaf_7_ecx::name(seven_more, say);
        extended_ecx::name(extended, say);
        say(
            ", which this machine's lacks: set a lower `target_cpu` under `[build]` in flash.toml, such as \"x86-64\"\n",
        );
        std::process::exit(OTHER_PROCESSOR);
    }

    /// What the binary needs and the processor lacks.
    #[allow(
        unused_unsafe,
        reason = "in newer compilers than the oldest supported one, the functions are safe"
    )]
    fn missing() -> [u32; 4] {
        // SAFETY: every processor of this architecture has the instruction `cpuid`.
        unsafe {
            let last = __cpuid(0).eax;
            let (seven, seven_more) = match last >= 7 {
                true => {
                    let seven = __cpuid_count(7, 0);
                    (seven.ebx, seven.ecx)
                }
                false => (0, 0),
            };
            let extended = match __cpuid(0x8000_0000).eax > 0x8000_0000 {
                true => __cpuid(0x8000_0001).ecx,
                false => 0,
            };
            [
                leaf_1_ecx::NEEDED & !__cpuid(1).ecx,
                leaf_7_ebx::NEEDED & !seven,
                leaf_7_ecx::NEEDED & !seven_more,
                extended_ecx::NEEDED & !extended,
            ]
        }
    }

    fn say(words: &str) {
        // Nobody is left to tell if stderr is closed.
        let _ = std::io::stderr().write_all(words.as_bytes());
    }

    #[cfg(test)]
    mod tests {
        use parking_lot::Mutex;

        use super::*;

        static SAID: Mutex<String> = Mutex::new(String::new());

        #[test]
        fn this_machine_has_what_its_own_binaries_need_and_what_is_missing_has_a_name() {
            assert_eq!(missing(), [0; 4]);
            let listen: fn(&str) = |word| SAID.lock().push_str(word);
            leaf_7_ebx::name(1 << 5 | 1 << 31, listen);
            extended_ecx::name(1 << 5, listen);
            assert_eq!(*SAID.lock(), " avx2 avx512vl lzcnt");
        }
    }
}
