//! Links the crates whose readers are fuzz targets.
pub use flash_test_support::fuzz::run;

use flash_image as _;
use flash_logs as _;
use flash_platform as _;
use flash_protocol as _;
use flash_text as _;
