//! The tables. The condition of every write states the rule that makes it happen only once.

mod agreements;
mod cancellations;
mod cursor_keys;
mod due;
mod emails;
mod idempotency;
mod invoices;
mod item;
mod news;
mod orders;
mod parcels;
mod payments;
mod references;
mod refunds;
mod refused;
mod search;
mod transition;
mod update;

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::AttributeValue as Value;

pub use agreements::{Approval, Revocation};
pub use cancellations::CancelBasis;
pub use cursor_keys::CursorKey;
pub use due::{DueCursor, DueMark, DueOrder, DuePage};
pub use emails::{DueEmail, DueEmails, EmailClaim, EmailState, Feedback, Promise, PromisedEmail};
pub use idempotency::{BodyHash, KeyUse};
pub use invoices::InvoiceIssue;
pub use item::{Corrupt, order_from_item};
pub use news::{Noted, NotedDispute};
pub use orders::{CartContents, CartUpdate, CreateOrder, KeyRecord, NewOrder};
pub use parcels::{Purchase, Shipping};
pub use payments::{
    Claim, ClaimRefusal, Confirmation, DeclinedCharge, DeclinedEnd, Fence, MAX_PAYMENT_KEYS,
    NextCharge, OpenedCharge, PaymentTerms, Released, Settlement,
};

pub use references::OwnReference;
pub use search::{FoundOrders, OrderSearch, Place, Progress};

use item::Item;

use domain::{DueStep, Order};
use platform::aws::AwsFailure;
use platform::config::Tables;
use platform::runtime::Runtime;

/// The tables, accessed with the AWS client.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    tables: Tables,
    runtime: Runtime,
    sends_mails: bool,
}

/// Why a call to the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The call failed.
    #[error(transparent)]
    Aws(#[from] AwsFailure),
    /// Other calls changed the item at every try; nothing was written.
    #[error("other writes changed the item at every try")]
    Conflict,
    /// An item does not have the form that this service writes.
    #[error("an item of the {table} table is damaged")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The attribute.
        #[source]
        source: Corrupt,
    },
    /// The environment of this function has no name for the table.
    #[error("no name is configured for the {0} table")]
    NotConfigured(&'static str),
}

impl Store {
    /// Creates a store on tables with these names.
    #[must_use]
    pub fn new(client: Client, tables: Tables, runtime: Runtime) -> Self {
        Self {
            client,
            tables,
            runtime,
            sends_mails: true,
        }
    }

    /// The same store for a shop without a sender: no order waits for a mail.
    #[must_use]
    pub fn without_mails(self) -> Self {
        Self {
            sends_mails: false,
            ..self
        }
    }

    /// The same store for a shop with this sender, if it has one.
    #[must_use]
    pub fn with_sender(self, sender: Option<&str>) -> Self {
        match sender {
            Some(_) => self,
            None => self.without_mails(),
        }
    }

    /// Whether mails are sent at all.
    #[must_use]
    pub fn sends_mails(&self) -> bool {
        self.sends_mails
    }

    /// The step of an order that waits for nothing except its mails.
    fn mail_step(&self, order: &Order) -> Option<DueStep> {
        self.mails(order).then_some(DueStep::Email)
    }

    fn mails(&self, order: &Order) -> bool {
        self.sends_mails && order.email().is_some()
    }

    fn orders_table(&self) -> Result<&str, StoreError> {
        configured(self.tables.orders.as_deref(), "Orders")
    }

    fn invoices_table(&self) -> Result<&str, StoreError> {
        configured(self.tables.invoices.as_deref(), "Invoices")
    }

    fn emails_table(&self) -> Result<&str, StoreError> {
        configured(self.tables.emails.as_deref(), "Emails")
    }

    fn idempotency_table(&self) -> Result<&str, StoreError> {
        configured(self.tables.idempotency.as_deref(), "IdempotencyKeys")
    }

    fn customers_table(&self) -> Result<&str, StoreError> {
        configured(self.tables.customers.as_deref(), "Customers")
    }

    /// The item with that key; a consistent read.
    async fn item<const N: usize>(
        &self,
        table: &str,
        key: [(&str, Value); N],
    ) -> Result<Option<Item>, StoreError> {
        let key = key.map(|(name, value)| (name.to_owned(), value));
        let request = self.client.get_item().table_name(table);
        let request = request.set_key(Some(key.into())).consistent_read(true);
        let output = request.send().await;
        Ok(output.map_err(|error| failed("GetItem", &error))?.item)
    }

    /// A random pause before try `attempt` (from 1), at most 50 ms × 2^attempt.
    async fn back_off(&self, attempt: u32) {
        let most = Duration::from_millis(50_u64 << attempt.min(5));
        tokio::time::sleep(self.runtime.jitter(most)).await;
    }
}

/// How many times a write is decided by what an item holds before other calls that change it win,
/// and how many times keys that `DynamoDB` left unprocessed are read.
pub const TRIES: u32 = 4;

fn configured<'a>(name: Option<&'a str>, table: &'static str) -> Result<&'a str, StoreError> {
    name.ok_or(StoreError::NotConfigured(table))
}

fn damaged(table: &'static str) -> impl Fn(Corrupt) -> StoreError {
    move |source| StoreError::Corrupt { table, source }
}

fn failed<E>(operation: &'static str, error: &SdkError<E>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    StoreError::Aws(AwsFailure::new(operation, error))
}
