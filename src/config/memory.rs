//! Whether what the settings allow fits into the memory that the process may have. Pure: what the system
//! allows is handed in.

use super::Settings;
use super::problem::Problem;
use crate::units::Size;

/// What comes beside `memory.size`, in bytes: the cache of blocks that are read back (32 MiB), segments that
/// are read ahead of clients (64 MiB), and the process itself. (Long bodies that are being fetched come beside
/// that: docs/operating.md, Memory.)
const BESIDE: u64 = 128 << 20;

/// The memory that an instance may take whose `memory.size` is this, in bytes.
fn most(size: u64) -> u64 {
    size.saturating_add(BESIDE)
}

// === impl Settings ===

impl Settings {
    /// Warns if `memory.size` does not fit into this many bytes of memory, which the kernel kills for. Nothing
    /// is lowered: how much memory is worth is for the operator to say.
    pub fn weigh(&mut self, limit: Option<u64>) {
        let size = self.memory.size;
        let Some(limit) = limit.filter(|limit| *limit < most(size)) else { return };
        let fits = limit.saturating_sub(BESIDE);
        let advice = if fits > 0 {
            format!("lower it to {} or raise the limit", Size(fits))
        } else {
            format!("raise the limit to {} or more", Size(most(size)))
        };
        let reason = format!(
            "does not fit into the {} of memory that this process may have (its control group): with what comes \
             beside it, it may take {}, and the kernel would kill it; {advice}",
            Size(limit),
            Size(most(size))
        );
        let (key, value) = ("memory.size".to_owned(), format!("\"{}\"", Size(size)));
        self.warnings.push(Problem { file: None, line: None, key, value, reason });
    }
}

#[cfg(test)]
mod tests {
    use crate::config;

    fn said(size: u64, limit: Option<u64>) -> Option<String> {
        let mut settings = config::load_text(None, std::iter::empty()).expect("the defaults are right");
        settings.memory.size = size;
        settings.weigh(limit);
        settings.warnings().iter().map(ToString::to_string).find(|text| text.starts_with("memory"))
    }

    #[test]
    fn a_limit_below_what_memory_may_take_is_told_with_what_would_fit() {
        let mib = |many: u64| many << 20;
        for (size, limit) in [(mib(128), None), (mib(128), Some(mib(256))), (mib(128), Some(mib(4096)))] {
            assert_eq!(said(size, limit), None);
        }
        let text = said(mib(128), Some(mib(96))).unwrap();
        assert!(text.starts_with("memory.size = \"128MiB\": does not fit into the 96MiB"), "{text}");
        assert!(
            text.contains("it may take 256MiB") && text.ends_with("raise the limit to 256MiB or more"),
            "{text}"
        );
        let text = said(mib(256), Some(mib(256))).unwrap();
        assert!(text.ends_with("lower it to 128MiB or raise the limit"), "{text}");
    }
}
