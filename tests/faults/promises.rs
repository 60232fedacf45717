//! The service's promises, the limit of each, and the tests that would fail if it were broken. The
//! list in ARCHITECTURE.md and the table in `docs/design` are generated from here.

use std::fmt::Write as _;

use super::matrix::{check_written, definitions, test_sources};

/// A promise with its limits.
struct Promise {
    sentence: &'static str,
    write: &'static str,
    tests: &'static [&'static str],
    remains: &'static str,
}

const HISTORIES: &str = "random_histories_keep_every_promise";
const REFUNDS: &str = "random_histories_of_refunds_keep_every_promise";
const WIRE: &str = "random_histories_keep_every_promise_through_the_real_clients";

#[rustfmt::skip]
const PROMISES: &[Promise] = &[
    Promise {
        sentence: "A customer is charged at most once for an order.",
        write: "`charge_opened`: one reference for an attempt, under the fence; `claim_next_attempt` forgets it only once the partner has closed it",
        tests: &["no_order_of_steps_charges_twice", "a_reference_takes_the_money_once_whoever_confirms_it", HISTORIES, WIRE],
        remains: "The partner confirms one reference once: Stripe by the status of the intent, PayPal by the one capture of an order",
    },
    Promise {
        sentence: "Money that a partner has captured is recorded on its order, whatever the order said before; until it is recorded, the order is due.",
        write: "`charge_declined` keeps the due mark while the charge may be confirmed; `claim_declined` and `charge_captured` record what was captured",
        tests: &["money_captured_after_a_decline_is_recorded_by_the_sweep_alone", "a_capture_overtaken_by_a_decline_is_recorded_at_once",
                 "money_captured_after_the_twentieth_decline_is_recorded_by_the_sweep", "without_its_guards_a_declined_charge_that_takes_the_money_is_lost_on_a_calm_day"],
        remains: "PayPal: a charge at an account whose credentials are gone stays `unknown`, and the partner is asked about a declined one for seven days. Stripe: none known",
    },
    Promise {
        sentence: "A charge is made by the payment method that the customer agreed to when the charging function began, or not at all.",
        write: "`charge_opened` and `charge_asked` store which method; the claim reads the agreement and compares",
        tests: &["a_card_whose_agreement_was_replaced_is_not_charged_by_stripe", "a_charge_is_confirmed_by_the_method_that_holds_or_not_at_all",
                 "while_a_capture_is_unanswered_no_other_card_is_charged_and_its_outcome_is_found"],
        remains: "A revocation that arrives while the function runs, or while a confirmation is on its way, may be too late. PayPal: after an unanswered capture, another method waits 15 minutes",
    },
    Promise {
        sentence: "Charges, invoices, and refunds use the amount and the currency of the order, whatever the shop's parameters are by then.",
        write: "`update_cart`, `issue_invoice`: `currency`, `version`; charges and refunds take both from the stored order",
        tests: &["a_cart_of_another_currency_is_not_updated", "an_order_is_not_invoiced_in_another_currency_than_its_own", "an_order_keeps_the_tax_that_its_cart_was_answered_with", HISTORIES],
        remains: "After `Currency` has changed, a pending order of the old currency can be cancelled or paid through the chain, but not updated",
    },
    Promise {
        sentence: "An order with `checkout` or an invoice has a total that its billing partner charges in form and size, or costs nothing and is paid without a partner.",
        write: "none: checked before `create_order`, `update_cart`, and `issue_invoice`; `paid_free` repeats `total = 0`",
        tests: &["no_accepted_order_has_a_total_that_its_partner_refuses", "a_total_out_of_the_partners_limits_is_refused_at_the_cart_and_at_the_invoice",
                 "a_free_order_is_paid_through_http_without_asking_a_partner"],
        remains: "Only Stripe knows the minimum of an account that is paid out in another currency than the shop's. An order that was accepted before `BillingPartner` or `Currency` changed may be declined",
    },
    Promise {
        sentence: "A charge that one account opened never counts as dead because another account does not find it, and no other partner is asked about it.",
        write: "`charge_opened` stores the partner and the account",
        tests: &["what_another_account_does_not_find_is_neither_charged_again_nor_cancelled", "only_the_account_that_opened_a_charge_says_that_it_has_expired_and_not_while_it_is_asked",
                 "a_charge_at_paypal_is_asked_for_at_neither_the_sandbox_nor_stripe",
                 "an_open_charge_is_asked_for_and_confirmed_at_its_own_partner_after_a_change", HISTORIES],
        remains: "Such an order is `unknown` until its credentials are back; manual action is required. A charge from before accounts were stored counts as another account's",
    },
    Promise {
        sentence: "A charge is refunded at most once, and an order whose refund failed says so, also if it failed after it had succeeded.",
        write: "`request_refund`, `finish_refund`: status and version; `note_refund`: the payment's state as it was read",
        tests: &["a_refund_that_fails_after_it_had_succeeded_is_shown_and_counted_once", "a_refund_that_paypal_takes_back_is_shown_counted_once_and_made_once_more",
                 "two_callers_who_repeat_a_failed_refund_make_it_once", HISTORIES],
        remains: "A late failure is known through a webhook only. Stripe: a refund made in the dashboard names no order, and if it fails, the order shows it with the next event of its charge",
    },
    Promise {
        sentence: "All refunds of an order together are never more than was captured, and each request for one is carried out once.",
        write: "`request_part`: `paid` or `shipped`, version, and the revision of the order's refunds; the refund's name comes from the idempotency key, and the partner keeps it",
        tests: &["two_callers_who_refund_at_once_never_get_more_than_was_captured", "a_refund_without_an_answer_is_made_once_and_continued_by_the_sweep",
                 "stripe_makes_each_part_once_however_its_answer_is_lost", REFUNDS],
        remains: "An order keeps 50 refunds of this service. After a failure (5xx) of Stripe's, the refund is requested under another key, once Stripe shows none of its name",
    },
    Promise {
        sentence: "An order whose whole charge went back outside is not shipped, if its parcel was not registered when the partner reported it.",
        write: "`cancel_refunded`: `paid`, version, no `parcel`, and the revision of the order's refunds; `refuse_purchase`, `end_purchases`: the same revision, and the purchases that they end are the open ones",
        tests: &["a_charge_that_is_refunded_in_the_dashboard_stops_the_shipment", "what_paypal_refunds_or_takes_back_outside_stops_the_shipment",
                 "a_lost_dispute_of_the_whole_charge_stops_the_shipment",
                 "an_order_whose_money_went_back_while_it_was_shipped_is_cancelled_once_its_label_is_refused", REFUNDS],
        remains: "It is known through a webhook only. Once the parcel is registered, the order ships, unless the carrier refuses its label, and the alarm `RefundedOutsideAlarm` tells people",
    },
    Promise {
        sentence: "Every dispute of a charge counts once and is shown in the partner's current state.",
        write: "`note_dispute`: the charge's reference; no later report of this dispute",
        tests: &["every_new_dispute_counts_once_whatever_is_heard_of_it_first_and_the_gravest_is_shown", "a_dispute_stands_as_the_partner_says_now_also_after_an_appeal"],
        remains: "An order keeps 20 disputes; further ones are counted and logged. Stripe gives no time for a dispute's state; the time of the question is used instead",
    },
    Promise {
        sentence: "An order has one label, at one carrier.",
        write: "`open_parcel`: paid, no parcel; `give_up_parcel`: its label refused, no purchase of it open; `ship`: paid, version, and the parcel that the label is for, or none",
        tests: &["a_carrier_ships_no_parcel_of_another_carriers", "a_crash_at_any_effect_breaks_nothing_through_the_client_of_easypost", HISTORIES],
        remains: "After `Carrier` has changed, an order whose parcel is registered at the old carrier waits for that carrier. A label that a person buys at the carrier for a parcel that was given up is not known",
    },
    Promise {
        sentence: "Each address gets one mail about an event of an order; an address that is rejected ends no other mail.",
        write: "`claim_email`: the row is new or `queued`; the row belongs to the order, event, and address",
        tests: &["an_address_that_is_refused_does_not_end_the_customers_own_mail", "an_address_gets_one_mail_about_an_event_whoever_asks_for_it_and_where", HISTORIES],
        remains: "SES does not recognize a repeat: after a lost answer or a crash around the call, the mail is `unconfirmed`, and the service never sends it again",
    },
    Promise {
        sentence: "A mail that was answered with success is kept until it has ended.",
        write: "`promise_email`, before the answer",
        tests: &["a_mail_that_was_promised_goes_out_once_though_ses_was_in_trouble_and_its_message_is_gone", HISTORIES],
        remains: "After `MailRetryDays` it is `failed` and counted",
    },
    Promise {
        sentence: "One key belongs to one body of an endpoint; a repeat receives the outcome of its attempt and moves no money.",
        write: "`use_key`: the key is new; `claim_payment`, `claim_next_attempt`: the key has claimed no other attempt",
        tests: &["a_key_goes_with_one_body_of_an_endpoint_whatever_the_bodies_are_about", "every_key_of_an_attempt_gets_its_decline_again_and_moves_no_money", HISTORIES],
        remains: "A key is kept for seven days, a payment attempt's keys permanently; a payment accepts 100 keys",
    },
    Promise {
        sentence: "An order whose cart was answered is found by its customer, by the shop, and by its reference, once the indexes have caught up.",
        write: "`create_order`: the order with the keys of the indexes and, in one transaction, its reference's row",
        tests: &["orders_are_listed_newest_first_each_once_over_pages_of_any_size", "a_page_that_finds_nothing_says_where_to_go_on_until_the_end", HISTORIES],
        remains: "An order of version 0.1.0 is found by its customer alone",
    },
    Promise {
        sentence: "A customer finds its own orders only, and neither an answer nor its duration depends on the orders of others.",
        write: "none; the partition that is read comes from the token, and a cursor is signed for its caller and search",
        tests: &["a_customer_finds_its_own_orders_and_learns_of_no_others", "a_cursor_goes_with_its_caller_and_its_search_and_with_nothing_else", HISTORIES],
        remains: "The load of the database and of the function is shared by all callers",
    },
    Promise {
        sentence: "A waiting order is checked, whatever fails for other orders or queues.",
        write: "`set_due`, `postpone`: the mark as it was read; the next check moves before anything is published",
        tests: &["orders_that_cannot_be_read_hold_back_nobody_behind_them", "one_queue_that_is_out_for_hours_delays_what_it_does_not_take_and_nothing_else", HISTORIES],
        remains: "A check comes at least once an hour; a declined order whose charge is closed is checked when it expires. What a queue refused waits for the next check",
    },
    Promise {
        sentence: "An order that waits too long for its customer is cancelled, and none of its charges stays open.",
        write: "`cancel_order`: our fence, or declined at the fence that was read, after the charge was closed at the partner",
        tests: &["an_order_that_waits_for_its_customer_expires_to_the_millisecond_and_is_closed_first", "a_customer_who_comes_back_when_the_order_expires_pays_or_is_not_charged", HISTORIES],
        remains: "The cancellation may be up to an hour late, and at PayPal waits until the order there is dead. An order that was declined while no order expired stays",
    },
    Promise {
        sentence: "An agreement whose revocation was answered stays revoked until the next approval.",
        write: "`approve_agreement`, `revoke_agreement`: the version that was read",
        tests: &["a_write_that_arrives_late_brings_back_no_agreement_and_takes_none_away", HISTORIES],
        remains: "Of two concurrent approvals, either may hold",
    },
    Promise {
        sentence: "A 503 says whether anything may have been changed.",
        write: "none; each failed call states what it proves (`AwsFailure::outcome`)",
        tests: &["a_503_that_says_that_nothing_was_changed_is_true", "a_503_of_unanswered_writes_says_so_at_every_endpoint"],
        remains: "The outcome of a failure after an effect is reported as unknown, even if more could be proven",
    },
];

const BEGIN: &str = "<!-- the promises: written from tests/faults/promises.rs -->\n";
const END: &str = "<!-- the promises end -->";

/// Only the promises, as a list.
fn list() -> String {
    let mut list = "\n".to_owned();
    for each in PROMISES {
        writeln!(list, "- {}", each.sentence).unwrap();
    }
    list.push('\n');
    list
}

fn table() -> String {
    let mut table = "| Promise | the write that keeps it | tests | limit |\n\
         | --- | --- | --- | --- |\n"
        .to_owned();
    for each in PROMISES {
        let tests: Vec<String> = each.tests.iter().map(|test| format!("`{test}`")).collect();
        let (promise, write, remains) = (each.sentence, each.write, each.remains);
        writeln!(
            table,
            "| {promise} | {write} | {} | {remains} |",
            tests.join(", ")
        )
        .unwrap();
    }
    table
}

#[test]
fn every_promise_has_its_tests() {
    let sources = test_sources();
    for each in PROMISES {
        for test in each.tests {
            assert_eq!(definitions(&sources, test), 1, "{test}");
        }
    }
}

#[test]
fn the_promises_in_the_book_and_in_architecture_are_these() {
    check_written("docs/design/never-twice.md", BEGIN, END, &table());
    check_written("ARCHITECTURE.md", BEGIN, END, &list());
}
