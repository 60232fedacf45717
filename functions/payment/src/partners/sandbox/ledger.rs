//! The sandbox's record of confirmed charges: one file for each.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use platform::config::ConfigError;
use serde::{Deserialize, Serialize};

use crate::partners::{OpenCharge, PartnerError};

/// The confirmed charges, one file for each in a directory of the local file system.
///
/// A charge's file is `<reference>.json` and contains an [`Entry`]. It appears complete or not at
/// all, even if the process that writes it is killed. It need not outlive the machine.
#[derive(Clone, Debug)]
pub struct Ledger {
    directory: PathBuf,
}

/// A confirmed charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The sandbox's reference of the charge.
    pub reference: String,
    /// The invoice.
    pub invoice_id: String,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The amount, in units of the currency, with at least one decimal.
    pub amount: serde_json::Number,
    /// The currency, as an ISO 4217 code.
    pub currency: String,
}

impl Ledger {
    /// The ledger in that directory, which must exist.
    pub fn new(directory: impl Into<PathBuf>) -> Result<Self, ConfigError> {
        let directory = directory.into();
        if directory.is_dir() {
            Ok(Self { directory })
        } else {
            Err(ConfigError::Wrong {
                name: "SANDBOX_LEDGER",
                expected: "a directory that is there".to_owned(),
            })
        }
    }

    /// Records a charge unless it is already recorded; `draft` is a name that no other process
    /// uses.
    pub(super) fn record(&self, charge: &OpenCharge, draft: &str) -> Result<(), PartnerError> {
        let entry = Entry {
            reference: charge.reference.clone(),
            invoice_id: charge.request.invoice.to_string(),
            attempt: charge.request.attempt,
            amount: charge.request.amount.to_amount_json(),
            currency: charge.request.currency.code().to_owned(),
        };
        let text =
            serde_json::to_vec(&entry).map_err(|error| PartnerError::Unavailable(error.into()))?;
        let draft = self.directory.join(format!("{draft}.draft"));
        fs::write(&draft, text).map_err(unavailable)?;
        // The complete file gets its name in one step, and only if no file has that name: a rename
        // would overwrite the first one.
        let linked = fs::hard_link(&draft, self.path(&charge.reference));
        // A draft that remains does not count as a file of the ledger.
        fs::remove_file(&draft).ok();
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(unavailable(error)),
            _ => Ok(()),
        }
    }

    /// Whether that charge was recorded.
    pub(super) fn holds(&self, reference: &str) -> Result<bool, PartnerError> {
        self.path(reference).try_exists().map_err(unavailable)
    }

    /// Fails while the directory contains a file `throttled`, by which a person simulates that the
    /// partner refuses every call.
    pub(super) fn answers(&self) -> Result<(), PartnerError> {
        let throttled = self.directory.join("throttled");
        if throttled.try_exists().map_err(unavailable)? {
            return Err(PartnerError::Unavailable("the sandbox is throttled".into()));
        }
        Ok(())
    }

    fn path(&self, reference: &str) -> PathBuf {
        self.directory.join(format!("{reference}.json"))
    }
}

/// A file could not be created or seen: nothing was recorded.
fn unavailable(error: std::io::Error) -> PartnerError {
    PartnerError::Unavailable(error.into())
}
