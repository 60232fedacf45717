//! The tables. Every write states, as its condition, the rule that makes it happen once.

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

/// The tables, over the real client.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    tables: Tables,
    runtime: Runtime,
    sends_mails: bool,
}

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The call failed.
    #[error(transparent)]
    Aws(#[from] AwsFailure),
    /// Other calls came in between, again and again; nothing was written.
    #[error("the call met others too often")]
    Conflict,
    /// An item is not as this service writes it.
    #[error("an item of the {table} table is damaged")]
    Corrupt {
        /// Which table.
        table: &'static str,
        /// What is wrong.
        #[source]
        source: Corrupt,
    },
    /// This function was not told the table's name.
    #[error("no name is configured for the {0} table")]
    NotConfigured(&'static str),
}

impl Store {
    /// Tables of these names.
    #[must_use]
    pub fn new(client: Client, tables: Tables, runtime: Runtime) -> Self {
        Self {
            client,
            tables,
            runtime,
            sends_mails: true,
        }
    }

    /// The same for a shop without a sender: no order waits for a mail.
    #[must_use]
    pub fn without_mails(self) -> Self {
        Self {
            sends_mails: false,
            ..self
        }
    }

    /// The same for a shop with this sender, if it has one.
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

    /// What an order waits for that has nothing before it but mails.
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

    /// The item of that key; a consistent read.
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

/// How often a write is decided anew that others came before, and how often keys that `DynamoDB` left
/// unread are asked for.
const TRIES: u32 = 4;

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
