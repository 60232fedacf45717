//! What the sandbox took, for whoever wants to count it: one file for each confirmed charge.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use platform::config::ConfigError;
use serde::{Deserialize, Serialize};

use crate::partners::{OpenCharge, PartnerError};

/// The confirmed charges, one file for each in a directory of the machine's own file system.
///
/// A charge's file is `<reference>.json` and holds an [`Entry`]. It appears whole or not at all,
/// whenever the process that writes it is killed. It need not outlive the machine.
#[derive(Clone, Debug)]
pub struct Ledger {
    directory: PathBuf,
}

/// A charge that was confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The sandbox's name for the charge.
    pub reference: String,
    /// What was billed.
    pub invoice_id: String,
    /// Which attempt at it, from 1.
    pub attempt: u32,
    /// How much, in units of the currency, with at least one decimal.
    pub amount: serde_json::Number,
    /// In what: the ISO 4217 code.
    pub currency: String,
}

impl Ledger {
    /// The ledger in that directory, which must be there.
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

    /// Writes a charge down, unless it is there already; `draft` is a name that nobody else uses.
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
        // The whole file gets its name in one step, and only if nobody has that name: a rename
        // would write over the first.
        let linked = fs::hard_link(&draft, self.path(&charge.reference));
        // A draft that stays behind is none of the ledger's files.
        fs::remove_file(&draft).ok();
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(unavailable(error)),
            _ => Ok(()),
        }
    }

    /// Whether that charge was written down.
    pub(super) fn holds(&self, reference: &str) -> Result<bool, PartnerError> {
        self.path(reference).try_exists().map_err(unavailable)
    }

    /// Fails while a file `throttled` is in the directory: a person plays that the partner refuses
    /// every call.
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

/// A file that could not be made or seen: nothing was written down.
fn unavailable(error: std::io::Error) -> PartnerError {
    PartnerError::Unavailable(error.into())
}
