//! Which test covers which fault of which step: the fault matrix in `docs/design` is generated from here.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use platform::config::Environment;

/// A fault, what must come of it, and the tests that show it.
struct Row {
    step: &'static str,
    fault: &'static str,
    expected: &'static str,
    tests: &'static [&'static str],
}

const fn row(
    step: &'static str,
    fault: &'static str,
    expected: &'static str,
    tests: &'static [&'static str],
) -> Row {
    Row {
        step,
        fault,
        expected,
        tests,
    }
}

const CRASHES: &str = "a_crash_at_any_effect_of_any_scenario_breaks_nothing";
const HISTORIES: &str = "random_histories_keep_every_promise";

const MET: &[&str] = &[
    "each_refusal_of_each_call_of_carts_invoices_and_reads_is_tried_again_then_503",
    "each_refusal_of_each_call_of_payments_and_agreements_is_tried_again_then_503",
    "each_refusal_of_each_call_of_cancellations_is_tried_again_then_503",
    "each_refusal_of_each_call_of_shipping_mails_and_webhooks_is_tried_again_then_503",
    "each_refusal_of_each_call_of_the_workers_loses_nothing",
    "each_refusal_of_each_call_of_the_relay_and_the_sweep_loses_nothing",
];

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row("API", "the same key and body again", "the same answer, byte for byte",
        &["every_step_repeated_gets_the_same_answer_with_and_without_a_key", HISTORIES]),
    row("API", "the same key with another body, also if a refused write returned the old item", "422",
        &["a_key_with_another_body_is_422_at_every_endpoint", "a_key_used_for_one_order_is_refused_for_another",
          "a_key_goes_with_one_body_of_an_endpoint_whatever_the_bodies_are_about"]),
    row("API", "the same key at another endpoint", "independent", &["a_key_means_nothing_at_another_endpoint"]),
    row("API", "crash between a key's row and the effect it is for", "the repeat continues and is carried out once",
        &["a_crash_between_a_keys_row_and_what_it_is_for_is_mended_by_the_repeat",
          "an_answered_update_is_not_written_again_by_its_repeats_at_once_or_late"]),
    row("API", "a customer's token makes a call of the back end, or names another customer's order",
        "403 before anything is read, or 404; nothing is written, sent, or queued",
        &["the_backend_scope_counts_as_a_text_and_as_a_list_in_scope_and_in_scp_and_whole",
          "a_customer_reaches_its_own_and_reads_anybody_elses_as_missing",
          "whoever_may_not_call_is_refused_before_its_request_is_read", "a_route_is_closed_whether_the_gateway_names_it_or_not",
          "a_function_answers_its_own_routes_alone"]),
    row("API", "the token is not valid here: an ID token, no customer or several, a scope that only resembles the back end's",
        "401, or treated as a customer's token",
        &["tokens_in_the_shapes_that_their_makers_publish_are_understood", "a_token_that_names_no_customer_or_several_is_nobodys",
          "without_a_token_every_route_is_closed"]),
    row("API", "a laptop-only setting is set in a deployed function", "it does not start, and names the setting",
        &["the_switches_of_a_laptop_work_on_a_loopback_address_alone"]),
    row("API", "the same key from another caller", "independent", &["a_key_belongs_to_its_caller"]),
    row("API", "a caller or an operator looks for what was logged about a request or an order", "each line has `request_id`, and `order_id` if it is about an order, at one place",
        &["every_answer_and_every_problem_names_its_request_as_its_log_does",
          "every_line_about_an_order_has_its_id_in_one_field"]),
    row("API", "20 identical requests at once", "one write, one order",
        &["twenty_identical_carts_at_once_make_one_order", "two_invoices_at_once_are_one"]),
    row("API", "crash after the commit, before the answer", "a repeat gets the answer", &[CRASHES]),
    row("API", "conflict or throttling", "retried with jitter, then 503 and nothing written",
        &["a_database_that_throttles_or_conflicts_for_ever_is_503_and_nothing_is_written", HISTORIES]),
    row("API", "a write is carried out and not answered", "503 that says so; a 503 that says that nothing was changed is true",
        &["a_503_of_unanswered_writes_says_so_at_every_endpoint", "a_503_that_says_that_nothing_was_changed_is_true",
          "a_read_that_fails_changed_nothing"]),
    row("API", "a key older than its retention", "it counts as new; the order still has one of each",
        &["a_key_older_than_its_retention_counts_as_new_and_the_order_still_has_one_invoice"]),
    row("API", "`Currency` or a tax parameter changes while orders are open",
        "each order keeps its own; an update or invoice in another currency is refused",
        &["a_cart_of_another_currency_is_not_updated", "an_order_is_not_invoiced_in_another_currency_than_its_own",
          "the_chain_and_explicit_calls_go_on_in_the_orders_own_currency", "a_carts_repeats_are_answered_as_the_first_time",
          "an_order_keeps_the_tax_that_its_cart_was_answered_with"]),
    row("API", "the billing partner never charges an amount: more decimals than it takes, below its minimum, above its maximum",
        "422 at the cart with checkout and at the invoice, before anything is promised; computed amounts are rounded to what it takes",
        &["a_price_finer_than_the_unit_is_refused_with_the_unit", "computed_amounts_are_rounded_to_what_the_partner_charges",
          "a_total_out_of_the_partners_limits_is_refused_at_the_cart_and_at_the_invoice",
          "no_accepted_order_has_a_total_that_its_partner_refuses"]),
    row("API", "`BillingPartner` or `Currency` changes, and the new partner never charges an open order",
        "the order is declined and can be cancelled; repeats get their answers, changes of it are 422",
        &["an_open_order_that_can_no_longer_be_charged_is_declined_and_can_be_cancelled",
          "repeats_are_answered_and_changes_refused_after_the_partner_has_changed"]),
    row("API", "the billing partner does not charge in the shop's currency", "the deployment is refused, and no function starts",
        &["cloudformation_refuses_the_currencies_that_the_functions_refuse"]),
    row("Relay", "crash between sending and checkpoint", "sent again; consumers ignore it",
        &[CRASHES, "every_lost_message_is_published_again_and_doubled_ones_do_nothing"]),
    row("Relay", "one of the queues refuses or does not answer", "retried twice, then left to the sweep; the other queues' records flow",
        &["a_queue_that_refuses_holds_back_no_record_and_its_messages_are_left_to_the_sweep",
          "every_message_of_the_relay_is_backed_by_a_due_mark",
          "a_message_that_no_mark_backs_is_brought_again_with_its_record"]),
    row("Relay", "the stream is down for over 24 hours", "the sweep publishes everything",
        &["with_a_dead_stream_the_sweep_brings_an_order_on_step_by_step", HISTORIES]),
    row("Relay", "a damaged record", "fails alone, the others flow", &["a_damaged_record_fails_alone"]),
    row("Sweep", "one of the queues is out for hours", "only its messages wait; the others are published once at each check",
        &["one_queue_that_is_out_for_hours_delays_what_it_does_not_take_and_nothing_else"]),
    row("Sweep", "orders or mails that this version cannot read", "counted and checked less often; no order behind them waits",
        &["orders_that_cannot_be_read_hold_back_nobody_behind_them",
          "a_mail_whose_row_cannot_be_read_holds_back_nothing_else_of_its_order"]),
    row("Sweep", "a read, a write, or the check itself fails for one order", "counted; no order behind it waits",
        &["an_order_whose_read_or_write_fails_holds_back_nobody_behind_it",
          "an_order_that_makes_the_sweep_panic_fails_alone"]),
    row("Sweep", "the sweep would not end in time, or panics", "it ends with its metrics; the next one continues where it stopped",
        &["a_sweep_that_is_stuck_ends_before_it_is_cut_off_and_says_what_it_did",
          "a_sweep_that_panics_says_what_it_did_and_begins_there_the_next_time"]),
    row("Sweep", "a backlog of any size, some of it damaged", "all others are published once, partitions concurrently",
        &["a_backlog_is_dealt_with_though_some_of_it_is_damaged"]),
    row("Queue", "five copies at once, and one late", "one effect",
        &["five_copies_of_every_message_at_once_and_one_late_have_one_effect"]),
    row("Queue", "the shipping message arrives before the order is paid", "kept, then done",
        &["a_shipment_that_comes_before_its_payment_is_kept_until_it_can_be_done"]),
    row("Queue", "one bad message in ten", "nine pass, one becomes a dead letter",
        &["in_a_batch_of_ten_a_bad_a_panicking_and_an_early_message_fail_alone",
          "test_a_poison_message_is_in_its_dead_letter_queue_after_five_receives_while_its_neighbours_pass"]),
    row("Queue", "a message vanishes", "the sweep publishes it again",
        &["every_lost_message_is_published_again_and_doubled_ones_do_nothing", HISTORIES]),
    row("Queue", "a dead letter expires", "its order still counts as overdue",
        &["a_sweep_that_helps_nothing_looks_rarer_and_reports_the_order_overdue"]),
    row("Queue", "dead letters of finished orders are redriven", "nothing happens",
        &["dead_letters_that_are_redriven_after_the_order_is_shipped_do_nothing"]),
    row("Queue", "dead letters that would return or do nothing are redriven", "left, with the reason; dropped by name",
        &["test_what_would_return_or_do_nothing_is_left_with_its_reason_and_can_be_received_afterwards",
          "test_one_that_a_redrive_brings_on_goes_only_by_its_id_and_if_the_operator_is_sure"]),
    row("Queue", "the operator's tool dies while it moves or drops letters", "each letter is in one queue or in both, never hidden for longer than a minute",
        &["test_no_letter_is_lost_or_hidden_whichever_call_fails"]),
    row("Queue", "an operator requeues an order again and again", "published each time; no check counts as a try",
        &["a_look_that_an_operator_asked_for_publishes_and_counts_as_no_try"]),
    row("Payment", "the customer has not agreed, has revoked the agreement, or must confirm with the bank", "`GET` says which of them, and the log once when the wait begins",
        &["a_payment_that_waits_for_its_customer_says_for_what_and_its_log_once",
          "an_order_of_the_chain_says_what_it_waits_for_until_it_waits_no_more"]),
    row("Payment", "the order costs nothing, and workers crash, repeat, or race a cancellation",
        "paid or cancelled once; no partner is ever asked",
        &[CRASHES, HISTORIES, "a_free_order_is_paid_through_http_without_asking_a_partner",
          "a_lost_message_of_a_free_order_is_sent_again_and_a_doubled_one_does_nothing",
          "a_paid_free_order_is_cancelled_straight_and_nothing_is_refunded"]),
    row("Payment", "crash before opening", "one charge, order paid",
        &["a_crash_before_the_charge_is_opened_is_mended", CRASHES]),
    row("Payment", "crash after opening", "one charge, order paid",
        &["a_crash_between_opening_and_storing_the_reference_is_mended",
          "a_crash_at_any_effect_breaks_nothing_at_a_partner_that_forgets_every_key"]),
    row("Payment", "crash after the reference is stored", "one charge, order paid",
        &["a_crash_after_storing_the_reference_is_mended_by_asking_for_it", CRASHES]),
    row("Payment", "crash after the confirmation, or its answer lost", "unknown, then found; one charge, order paid",
        &["an_answer_lost_after_the_money_moved_is_unknown_not_declined_and_then_found", CRASHES,
          "an_answer_lost_at_any_effect_breaks_nothing_through_the_real_clients"]),
    row("Payment", "crash after finishing", "a repeat gets the recorded answer", &[CRASHES]),
    row("Payment", "the partner throttles (429, key in use)", "503, retried, one charge",
        &["a_partner_that_asks_for_less_is_asked_again_and_charges_once",
          "a_confirmation_that_stripe_puts_off_is_left_for_later",
          "a_rate_limit_delays_the_charge_and_nothing_else"]),
    row("Payment", "the partner's key repeats a failure (cached 500)", "looked up by reference, one charge",
        &["a_failure_that_the_key_keeps_delays_a_confirmation_and_does_not_block_it_for_a_day",
          "a_failure_after_the_money_was_taken_is_found_out_at_once"]),
    row("Payment", "the partner repeats a refusal for the same key, also once its cause is mended",
        "asked once more with a key that was never used",
        &["the_key_of_opening_at_stripe_changes_with_what_is_opened_and_with_a_kept_answer",
          "the_key_of_confirming_at_stripe_changes_with_the_intent_and_with_a_kept_answer",
          "the_id_of_opening_at_paypal_changes_with_what_is_opened_and_with_a_kept_answer",
          "the_id_of_a_capture_changes_with_what_is_captured_and_with_a_kept_answer"]),
    row("Payment", "the partner refuses in words that no list has, in none, or not in JSON",
        "402, unless the partner shows that the charge was made",
        &["an_answer_of_stripes_without_a_word_is_decided_by_what_it_proves",
          "an_answer_of_paypals_without_a_word_is_decided_by_what_it_proves",
          "a_refusal_without_a_word_is_asked_about_where_the_charge_was_made_all_the_same",
          "a_refusal_without_a_word_is_asked_about_where_the_capture_was_made_all_the_same"]),
    row("Payment", "the account, its rights, or its keys do not allow the charge",
        "503 that names the operator's turn; the attempt goes on once it is mended",
        &["what_only_the_shop_can_mend_at_stripe_is_said_so_and_declines_nobody",
          "what_only_the_shop_can_mend_is_no_decline_of_the_customers"]),
    row("Payment", "any crash, through the real clients", "one charge, order paid",
        &["a_crash_at_any_effect_breaks_nothing_through_the_client_of_stripe",
          "a_crash_at_any_effect_breaks_nothing_through_the_client_of_paypal",
          "random_histories_keep_every_promise_through_the_real_clients"]),
    row("Payment", "the partner is out for 30 hours after opening", "unknown until it can be asked, one charge",
        &["a_partner_that_is_out_for_30_hours_after_the_charge_was_opened_charges_once_afterwards", HISTORIES]),
    row("Payment", "a frozen worker wakes after its lease", "its writes are refused, one charge",
        &["a_frozen_worker_that_wakes_after_its_lease_changes_nothing",
          "a_worker_that_was_overtaken_cannot_write_under_its_old_fence",
          "a_worker_frozen_before_confirming_a_declined_attempt_cannot_charge_it_later"]),
    row("Payment", "two workers confirm", "one charge",
        &["two_workers_that_confirm_the_same_charge_take_the_money_once",
          "requests_and_messages_at_once_make_one_charge", "no_order_of_steps_charges_twice"]),
    row("Payment", "declined, then delivered again", "stays declined",
        &["a_declined_payment_stays_declined_whatever_is_delivered_and_its_mail_still_goes_out",
          "only_an_explicit_request_tries_again_after_a_decline_and_its_repeat_does_not"]),
    row("Payment", "declined, and then captured by a late or frozen confirmation or on the partner's page",
        "due until the charge is dead; the capture is found and the order paid",
        &["no_order_of_steps_charges_twice",
          "without_its_guards_a_declined_charge_that_takes_the_money_is_lost_on_a_calm_day"]),
    row("Payment", "the customer revokes or replaces the payment method while a charge is open",
        "no later claim charges the old method",
        &["no_order_of_steps_charges_twice", "without_its_guard_a_revoked_method_is_charged_on_a_calm_day"]),
    row("Payment", "another amount in the message", "the invoice's total is charged",
        &["the_amount_comes_from_the_order_whatever_a_message_says"]),
    row("Payment", "cancelled at the partner", "declined, retryable",
        &["a_charge_cancelled_at_the_partner_counts_as_declined"]),
    row("Payment", "a slow capture succeeds after its caller gave up or died and another card was declined",
        "no other card is charged while the capture may arrive; the sweep, a webhook, or a request finds it; one charge, order paid",
        &["while_a_capture_is_unanswered_no_other_card_is_charged_and_its_outcome_is_found",
          "money_captured_after_a_decline_is_recorded_by_the_sweep_alone",
          "money_captured_after_a_decline_is_recorded_by_a_webhook_or_a_request",
          "a_capture_overtaken_by_a_decline_is_recorded_at_once",
          "money_captured_after_the_twentieth_decline_is_recorded_by_the_sweep"]),
    row("Payment", "a declined charge stays open at the partner, or is paid on its page", "due until it can no longer be confirmed; a capture is recorded; mails go out, not overdue",
        &["a_declined_charge_is_due_until_it_is_dead_and_its_mails_go_out_meanwhile",
          "a_charge_that_its_decline_has_closed_is_not_due", "an_intent_left_open_is_cancelled_by_the_next_sweep",
          "an_intent_left_open_and_then_paid_on_stripes_page_is_recorded"]),
    row("Payment", "the agreement is revoked or replaced while a charge is open", "charged by the current method, or not at all",
        &["a_card_whose_agreement_was_replaced_is_not_charged_by_stripe", "a_revoked_card_is_charged_by_nobody",
          "a_customer_who_must_authenticate_may_choose_another_card_instead",
          "a_confirmation_that_arrived_is_found_though_its_agreement_was_replaced",
          "a_charge_is_confirmed_by_the_method_that_holds_or_not_at_all"]),
    row("Payment", "several keys join one attempt, which is declined", "each receives that decline again and moves no money; 100 keys at most",
        &["every_key_of_an_attempt_gets_its_decline_again_and_moves_no_money",
          "a_key_whose_attempt_was_declined_meanwhile_is_not_answered_by_the_next_attempt", "a_payment_takes_a_hundred_keys_and_no_more",
          "a_payment_that_an_earlier_version_left_without_keys_takes_keys"]),
    row("Payment", "the customer must confirm the payment at the bank or at PayPal, or the answer with its page is lost", "402 and GET name the page; the client secret reaches the back end alone; confirmed there, the order ships by the webhook or the sweep, charged once",
        &["a_customer_who_must_authenticate_is_sent_to_the_bank_and_the_order_ships_from_there",
          "a_payer_who_must_act_is_sent_to_paypal_and_the_order_ships_from_there",
          "a_bank_page_whose_answer_was_lost_is_found_by_the_next_look",
          "a_customer_whom_the_bank_does_not_recognize_is_declined_and_may_pay_by_another_attempt",
          "a_card_that_needs_no_customer_after_all_is_charged_at_once",
          "without_a_return_address_the_shops_page_confirms_by_the_client_secret",
          "a_customer_who_has_revoked_gets_no_page_and_is_not_charged"]),
    row("Payment", "the billing partner changes while a charge is open, and both are configured", "the charge is looked up, confirmed, cancelled, and refunded at its own partner; another one opens at the new partner once the first is closed; one capture over both",
        &["an_open_charge_is_asked_for_and_confirmed_at_its_own_partner_after_a_change",
          "a_charge_is_given_back_by_the_partner_that_took_it",
          "the_attempt_after_a_decline_opens_at_the_new_partner_once_the_old_charge_is_closed",
          "a_charge_that_waits_for_its_customer_moves_to_the_new_partner_with_the_customer",
          "a_change_that_is_rolled_back_opens_another_charge_at_the_first_partner",
          "an_agreement_with_the_old_partner_does_not_count_for_a_new_charge",
          "webhooks_of_both_partners_are_heard_and_a_dispute_is_asked_for_where_it_is",
          "a_charge_of_an_earlier_version_is_where_its_account_or_reference_proves"]),
    row("Payment", "the partner's account changes, or its partner is configured no more, while a charge is open", "503; nothing is charged, refunded, or cancelled; the order continues once the first one is configured again",
        &["what_another_account_does_not_find_is_neither_charged_again_nor_cancelled",
          "a_declined_charge_of_another_account_is_not_taken_for_dead",
          "a_charge_at_another_billing_partner_is_asked_for_at_none", "a_charge_at_another_billing_partner_is_given_back_by_none",
          "a_charge_at_paypal_is_asked_for_at_neither_the_sandbox_nor_stripe",
          "a_charge_at_a_partner_that_this_version_does_not_know_is_asked_for_at_none",
          "only_the_account_that_opened_a_charge_says_that_it_has_expired_and_not_while_it_is_asked"]),
    row("Partner", "the billing partner, the carrier, or SES cannot be used, or its keys are missing", "counted each time, with an alarm of its own; the order is listed from the sweep's first check on",
        &["a_dependency_that_cannot_be_used_is_counted_each_time", "a_carrier_that_cannot_be_used_is_counted_each_time",
          "test_a_step_that_failed_once_is_listed_unless_the_payment_waits_for_somebody"]),
    row("Partner", "a function's secret holds no keys, or cannot be read", "503 that names the operator; a due order waits for the sweep, other messages stay in the queue; an order that needs no partner can be cancelled",
        &["without_keys_a_payment_is_503_and_it_is_made_once_they_are_put_in",
          "what_only_the_operator_can_mend_says_so_and_the_rest_says_to_try_again",
          "what_needs_no_partner_is_cancelled_without_keys", "news_of_a_closed_decline_is_kept_while_there_is_no_key",
          "a_secret_without_keys_is_not_read_for_every_call"]),
    row("Partner", "its keys are replaced", "the new keys count from the first refusal of the old ones, or within five minutes; charges stay with the account",
        &["a_key_that_was_rolled_counts_from_the_first_refusal_of_the_old_one",
          "a_new_key_counts_within_minutes_also_while_the_old_one_is_taken",
          "a_replaced_secret_of_the_same_paypal_client_is_the_same_account",
          "a_shop_without_its_carriers_key_ships_once_it_is_put_in_and_follows_when_it_is_replaced",
          "a_key_that_stripe_refuses_makes_no_storm_and_leaves_messages_to_the_sweep"]),
    row("Partner", "Secrets Manager is out or does not answer", "the keys that were read before stay in use",
        &["while_secrets_manager_is_out_the_keys_that_were_read_go_on_being_used",
          "a_secret_that_is_not_answered_holds_up_a_call_for_seconds_only"]),
    row("Partner", "a connection died while the function was frozen: reset, silent, or closed", "no outcome is unknown",
        &["no_charge_or_refund_at_stripe_is_unknown_for_a_connection_that_died_while_idle",
          "no_charge_or_refund_at_paypal_is_unknown_for_a_connection_that_died_while_idle",
          "no_label_is_unknown_for_a_connection_that_died_while_idle"]),
    row("Shipment", "the answer is lost after the label exists", "found by its reference, one label",
        &["an_answer_lost_on_the_way_back_buys_no_second_label",
          "an_answer_lost_at_any_effect_breaks_nothing_through_the_real_clients", HISTORIES]),
    row("Shipment", "the order is not paid", "refused",
        &["a_wrong_state_is_409_and_says_what_must_come_first",
          "the_database_refuses_every_write_that_the_state_table_refuses"]),
    row("Shipment", "crash between the carrier and the write", "found by its reference, one label",
        &["a_label_bought_by_a_function_that_died_before_it_wrote_it_down_is_found", CRASHES]),
    row("Shipment", "any crash, through the real client, also with a concurrent cancellation", "one label, or none and a refund",
        &["a_crash_at_any_effect_breaks_nothing_through_the_client_of_easypost",
          "random_histories_keep_every_promise_through_the_real_clients"]),
    row("Shipment", "the carrier cannot use the recipient", "422 at the cart and the invoice, before money moves",
        &["a_cart_refuses_whom_easypost_cannot_deliver_to_and_says_what_to_write",
          "an_invoice_refuses_whom_easypost_cannot_deliver_to"]),
    row("Shipment", "the carrier refuses the parcel or its label",
        "shown; a better request registers another parcel, or the order is cancelled and refunded",
        &["a_refused_label_is_shown_and_a_better_address_starts_another_parcel",
          "a_refused_label_lets_the_order_be_cancelled_and_paid_back",
          "no_rate_is_the_shops_turn_also_without_a_reason"]),
    row("Shipment", "the label is refused while another purchase of it is unanswered",
        "no other parcel and no refund until the carrier shows that it was not bought",
        &["while_a_purchase_is_unanswered_there_is_no_other_parcel_and_no_refund",
          "two_callers_with_better_addresses_have_one_label_bought",
          "a_cancellation_beside_a_better_address_leaves_a_label_or_a_refund",
          "an_answer_lost_at_any_call_of_the_second_parcel_buys_no_second_label"]),
    row("Shipment", "`Carrier` changes while parcels are registered", "each parcel stays with its own carrier; nothing is bought twice",
        &["a_carrier_ships_no_parcel_of_another_carriers", "a_parcel_that_another_carrier_registers_meanwhile_is_left_to_it",
          "a_label_is_written_only_for_the_parcel_that_it_was_bought_for"]),
    row("Agreement", "an approval's or revocation's write arrives late or beside another",
        "an answered revocation stands; an overtaken write is not made",
        &["a_write_that_arrives_late_brings_back_no_agreement_and_takes_none_away",
          "an_approval_that_is_overtaken_counts_as_the_earlier_one",
          "a_revocation_takes_back_an_approval_that_comes_beside_it"]),
    row("All", "a write arrives once more, late", "it is refused", &["no_write_of_an_order_that_arrives_once_more_changes_anything"]),
    row("Cancel", "a charge is open at the partner", "closed there first, never confirmed afterwards",
        &["an_open_charge_is_cancelled_at_the_partner_first", CRASHES]),
    row("Cancel", "the charge was captured and the service does not know", "found, refunded once, cancelled",
        &["a_charge_that_was_captured_unknown_to_us_is_found_and_refunded",
          "a_declined_charge_that_was_captured_all_the_same_is_found_and_refunded", HISTORIES]),
    row("Cancel", "crash around the refund, or its answer lost", "one refund, order cancelled",
        &["a_refund_whose_answer_was_lost_is_finished_by_the_chain_itself",
          "a_charge_is_given_back_once_whichever_answer_is_lost_and_however_late_it_is_asked_again",
          "a_refund_whose_answer_is_lost_is_made_once", CRASHES]),
    row("Cancel", "a refund fails days after it succeeded", "shown, counted once, and made once more when the cancellation is repeated",
        &["a_refund_that_fails_after_it_had_succeeded_is_shown_and_counted_once",
          "a_failed_refund_is_made_once_more_when_the_cancellation_is_repeated",
          "two_callers_who_repeat_a_failed_refund_make_it_once",
          "a_refund_that_paypal_takes_back_is_shown_counted_once_and_made_once_more"]),
    row("Cancel", "the partner refuses a refund for want of funds, which are there a day later",
        "refused, with an alarm; the next request is asked with another key and gives the money back",
        &["each_code_of_stripes_has_its_outcome_where_a_charge_is_refunded",
          "each_issue_of_paypals_has_its_outcome_where_a_capture_is_refunded",
          "the_key_of_a_refund_at_stripe_changes_with_each_that_failed_and_with_a_kept_answer",
          "the_id_of_a_refund_at_paypal_changes_with_each_that_failed_and_with_a_kept_answer"]),
    row("Cancel", "a pending refund fails, or the partner repeats a stored rejection", "shown, counted, and made under another key",
        &["a_pending_refund_that_fails_is_shown_and_made_again_only_when_somebody_asks",
          "a_refund_that_was_refused_is_asked_for_under_a_key_that_does_not_repeat_the_refusal",
          "a_refund_that_paypal_refused_for_want_of_funds_is_made_once_there_are_some"]),
    row("Expiry", "an order waits too long for its customer", "cancelled once, its charge closed first; an order whose money may be moving is not cancelled",
        &["an_order_that_waits_for_its_customer_expires_to_the_millisecond_and_is_closed_first",
          "the_sweep_alone_brings_every_waiting_order_to_its_end", "what_does_not_wait_for_its_customer_never_expires",
          "an_order_of_an_earlier_version_has_waited_since_its_invoice"]),
    row("Expiry", "the customer returns when the time has passed", "paid and not cancelled, or cancelled and not charged",
        &["a_customer_who_comes_back_in_the_very_moment_pays_or_is_not_charged",
          "a_customer_who_comes_back_when_the_order_expires_pays_or_is_not_charged",
          "an_intent_that_its_customer_has_paid_at_last_is_recorded_and_not_cancelled", HISTORIES]),
    row("Expiry", "an approval arrives months later", "no order that has waited too long is charged",
        &["one_late_approval_charges_no_order_that_has_waited_too_long",
          "a_card_that_is_approved_too_late_is_not_charged_by_stripe"]),
    row("Expiry", "the partner cannot close the charge, or does not answer", "retried, then cancelled; overdue after a day",
        &["an_order_at_paypal_is_cancelled_once_it_is_dead_and_not_before",
          "a_charge_whose_closing_is_not_answered_or_refused_is_closed_later",
          "an_order_that_cannot_be_cancelled_in_time_counts_as_overdue"]),
    row("Expiry", "crash at any effect, or a message that is delivered twice", "cancelled once",
        &[CRASHES, "a_crash_at_any_effect_breaks_nothing_through_the_client_of_stripe",
          "a_crash_at_any_effect_breaks_nothing_through_the_client_of_paypal",
          "five_copies_of_a_message_at_once_and_one_late_cancel_once"]),
    row("Expiry", "checks, attempts, and `UnpaidOrderDays` changes while an order waits",
        "checks do not extend the time, attempts do; the new number counts",
        &["looks_and_requests_that_try_nothing_do_not_begin_the_time_anew", "an_attempt_begins_the_time_anew",
          "the_days_may_change_while_an_order_waits"]),
    row("Email", "the answer is lost after SES accepted the mail", "parked as unconfirmed, counted, never sent again",
        &["a_mail_that_ses_refuses_or_whose_fate_is_unknown_is_never_sent_again", HISTORIES]),
    row("Email", "crash while sending", "parked as unconfirmed",
        &["a_function_that_died_around_ses_leaves_a_mail_that_is_parked_not_sent_again", CRASHES]),
    row("Email", "an operator resends a mail, twice, or one that has changed since it was read", "sent once more, to the order's own address",
        &["a_mail_that_an_operator_resends_goes_out_once_more_by_the_orders_own_contact",
          "a_resent_mail_of_an_old_order_that_is_still_due_is_tried_and_not_given_up_at_once",
          "test_a_row_that_changed_since_it_was_read_is_left_alone"]),
    row("Email", "throttling", "sent later, once", &["mail_trouble_is_503_and_says_what_is_known"]),
    row("Email", "the sender is not verified", "no mail is sent; it waits, overdue, and is sent once the sender is verified",
        &["a_mail_of_a_sender_that_is_not_verified_waits_and_goes_out_once_it_is"]),
    row("Email", "an address other than the customer's is rejected", "that address receives no mail; the customer's own is sent",
        &["an_address_that_is_refused_does_not_end_the_customers_own_mail"]),
    row("Email", "SES fails until the message of a promised mail is a dead letter", "sent later, once, by the sweep",
        &["a_mail_that_was_promised_goes_out_once_though_ses_was_in_trouble_and_its_message_is_gone"]),
    row("Email", "the queue is out, or loses the message, when a mail is promised", "200, sent later by the sweep",
        &["a_mail_is_promised_while_the_email_queue_is_out_and_sent_later",
          "a_promised_mail_whose_message_is_lost_is_published_rarer_and_rarer_until_it_is_sent"]),
    row("Email", "the sender of a promised mail dies and the message is lost", "parked as unconfirmed",
        &["a_promised_mail_whose_sender_died_is_parked_though_its_message_is_lost"]),
    row("Email", "the ledger is out when a mail is promised", "an error, nothing is sent",
        &["a_mail_is_promised_by_the_ledger_or_not_at_all"]),
    row("Email", "promised mails that fail or are of another version", "they wait longer, the others are sent, all are counted",
        &["promised_mails_that_fail_or_cannot_be_read_hold_up_no_other_and_are_counted"]),
    row("Email", "SES does not accept a mail for `MailRetryDays`", "failed, counted, and shown; nothing of it is kept",
        &["a_promised_mail_that_ses_does_not_take_for_three_days_ends_and_nothing_is_kept",
          "a_mail_of_the_chain_that_ses_does_not_take_for_days_ends_and_is_counted_once",
          "a_mail_that_nobody_has_tried_to_send_is_not_given_up_after_an_outage_of_days"]),
    row("Email", "an idle connection ended, by RST, FIN or silence, while the function was frozen", "every mail sent once, none unconfirmed",
        &["a_mail_after_an_idle_moment_is_sent_once_however_the_connection_has_ended"]),
    row("Email", "1 000 mails at once at 14 per second", "sent at the rate, once, no dead letter",
        &["a_burst_over_the_rate_is_sent_at_the_rate_each_mail_once_and_none_becomes_a_dead_letter"]),
    row("Email", "the account's limit for 24 hours is reached", "sent later by the sweep, no dead letter",
        &["mails_over_the_limit_of_24_hours_wait_for_the_sweep_and_are_no_dead_letters"]),
    row("Email", "the SES sandbox refuses the recipient", "not accepted; sent later",
        &["a_mail_to_an_address_that_the_sandbox_does_not_know_may_be_sent_later"]),
    row("Email", "no sender is configured, or no longer", "no mails; no order waits for one; 409",
        &["a_shop_without_a_sender_sends_no_mails_and_waits_for_none", "what_waits_for_mails_waits_no_longer_once_the_sender_is_gone"]),
    row("Email", "a bounce or a complaint, twice, early, or of an unknown mail", "recorded once and shown; ends the mails to the address",
        &["a_bounce_and_a_complaint_are_recorded_and_end_the_mails_to_their_address",
          "news_of_a_mail_may_come_before_it_is_settled_and_of_mails_that_nobody_knows"]),
    row("Email", "a value of an order is a web or mail address", "no part of the mail becomes a link",
        &["no_value_of_an_order_becomes_a_link_in_its_mails"]),
    row("Email", "the address is rejected", "recorded; the chain continues",
        &["a_mail_that_is_refused_or_unconfirmed_ends_and_the_order_waits_for_nothing"]),
    row("Webhook", "it comes first, twice, late, or beside the request", "it changes nothing that the request would not",
        &["a_webhook_that_comes_first_twice_late_or_beside_a_request_charges_nobody_again",
          "a_pending_capture_settles_as_soon_as_paypal_tells_and_only_as_paypal_says",
          "of_two_pieces_of_news_the_later_one_holds_in_whatever_order_they_come"]),
    row("Webhook", "it is forged, altered, for another recipient, or, from Stripe, old", "401, and its event's ID is not used up",
        &["what_is_not_signed_now_by_this_partner_changes_nothing",
          "what_paypal_has_not_signed_for_this_webhook_changes_nothing"]),
    row("Webhook", "PayPal repeats it for days with its first signature", "accepted, once",
        &["a_webhook_that_paypal_repeats_for_days_with_its_first_time_is_heard"]),
    row("Webhook", "it is signed and its content is false", "the partner is asked, and its answer holds",
        &["a_dispute_is_shown_as_stripe_has_it_whatever_the_webhook_says",
          "a_dispute_is_shown_as_paypal_has_it_whatever_the_webhook_says",
          "a_parcel_is_shown_where_easypost_has_it_whatever_the_webhook_says",
          "what_a_webhook_says_of_a_refund_is_believed_in_nothing"]),
    row("Webhook", "a report of a dispute or a refund is overtaken by a later one", "the later one holds, in any direction",
        &["in_whatever_order_news_of_a_dispute_is_written_the_latest_holds",
          "of_two_answers_about_a_dispute_the_later_one_by_paypals_time_holds",
          "of_two_answers_about_a_refund_the_one_to_the_later_question_holds"]),
    row("Webhook", "20 000 forged ones name 20 000 certificates", "five calls, then one every 30 s; PayPal's own are accepted",
        &["a_flood_of_forged_webhooks_makes_few_calls_and_keeps_no_true_one_out",
          "a_webhook_with_a_new_certificate_is_put_off_by_a_flood_and_heard_when_it_ends",
          "a_name_that_paypal_does_not_know_is_asked_for_once_in_a_while"]),
    row("Webhook", "its secret is missing, or is replaced", "503 until it exists; the new one counts at once",
        &["webhooks_are_heard_once_their_secret_is_there_and_follow_when_it_is_rolled",
          "the_carriers_and_paypals_webhooks_wait_for_their_secrets_and_follow_them"]),
    row("Webhook", "a queue, the certificate, or the partner is unavailable", "not acknowledged, or kept in the queue; done later",
        &["an_event_whose_effect_failed_is_done_when_the_partner_repeats_it",
          "the_certificate_is_fetched_once_and_while_it_cannot_be_the_webhook_comes_again",
          "a_dispute_that_stripe_cannot_be_asked_about_now_is_asked_about_later",
          "news_of_a_failed_refund_waits_until_stripe_can_be_asked"]),
    row("AWS", "a call is throttled, meets a transaction, or fails at AWS: each call of each step, once and permanently",
        "retried with jitter; then 503 or a kept message, nothing half done, and the repeat ends correctly", MET),
    row("AWS", "an answer is partial, oversized, altered on its way, or HTML", "never treated as an answer; retried",
        &["each_refusal_of_each_call_of_carts_invoices_and_reads_is_tried_again_then_503",
          "an_answer_that_is_no_answer_of_aws_is_asked_for_again_over_real_sockets"]),
    row("AWS", "keys of a batch are left unread, or messages of a batch are not accepted", "read and sent again, alone; then 503",
        &["each_refusal_of_each_call_of_carts_invoices_and_reads_is_tried_again_then_503",
          "each_refusal_of_each_call_of_shipping_mails_and_webhooks_is_tried_again_then_503",
          "each_refusal_of_each_call_of_the_relay_and_the_sweep_loses_nothing"]),
    row("AWS", "a role lacks a right, a table is missing, a key has expired", "503, never 500, and an error in the log", MET),
    row("AWS", "an idle connection ends with FIN, RST or silence, before, during or after a freeze", "another try on a new connection; each effect once",
        &["a_connection_that_ends_while_nothing_is_sent_costs_another_try_and_nothing_else",
          "a_function_that_was_frozen_answers_whatever_became_of_its_connections"]),
    row("AWS", "DynamoDB is silent or busy until the invocation's end", "503 before Lambda ends it",
        &["a_database_that_is_silent_or_busy_is_503_before_lambda_ends_the_invocation"]),
    row("All", "clocks five minutes apart", "no double effect",
        &["clocks_five_minutes_apart_and_a_crash_at_any_effect_break_nothing", HISTORIES]),
    row("All", "a function times out", "no double effect, the rest is retried",
        &["a_function_that_times_out_at_any_effect_of_any_scenario_breaks_nothing"]),
    row("All", "the answer to any call of a function is lost", "no double effect, the rest is retried",
        &["an_answer_lost_at_any_effect_of_any_scenario_breaks_nothing"]),
    row("All", "a function is killed, as for lack of memory, once or twice", "no double effect, the rest is retried",
        &[CRASHES, "any_two_crashes_on_the_way_break_nothing"]),
    row("All", "the cause of an alarm occurs, or does not", "its metric is written once, in CloudWatch's format; otherwise none is",
        &["every_metric_with_an_alarm_has_a_test_that_makes_its_trouble_happen",
          "every_metric_that_is_counted_has_an_alarm_or_needs_none",
          "orders_that_go_well_or_fail_for_their_callers_reasons_count_no_trouble"]),
    row("All", "a table or right is missing; the function answers, and Lambda sees no error", "503, counted as an internal error",
        &["a_table_that_is_missing_is_counted_as_a_fault_of_ours", "a_message_that_meets_a_fault_of_ours_is_counted"]),
    row("Email", "the sending function was frozen, and others parked its mail", "`unconfirmed`, counted once",
        &["a_mail_that_is_parked_by_two_is_counted_once"]),
    row("All", "an event holds arbitrary content", "no panic; a request is answered, a message or record is kept",
        &["whatever_a_request_holds_it_is_answered", "whatever_a_batch_holds_each_message_has_its_fate",
          "whatever_the_stream_brings_what_cannot_be_read_is_reported",
          "a_header_or_a_query_that_makes_no_url_changes_nothing"]),
    row("All", "a body uses field names that the JSON reader reserves", "400 with the position; a message becomes a dead letter",
        &["serde_jsons_own_names_are_refused_wherever_they_stand"]),
    row("All", "one message of a batch panics", "it fails alone",
        &["in_a_batch_of_ten_a_bad_a_panicking_and_an_early_message_fail_alone",
          "a_request_that_panics_is_a_500_that_shows_nothing"]),
];

const BEGIN: &str = "<!-- the fault matrix: written from tests/faults/matrix.rs -->\n";
const END: &str = "<!-- the fault matrix ends -->";

pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text of every test file, Rust and Python.
pub(super) fn test_sources() -> String {
    let folders = ["tests/faults", "tests/ops", "tests/suite", "tests/stack"];
    folders.map(|folder| texts(&root().join(folder))).concat()
}

/// The text of every file in a folder and in the folders below it.
fn texts(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let text = |path: PathBuf| {
        if path.is_dir() {
            texts(&path)
        } else {
            String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
        }
    };
    paths.map(text).collect()
}

/// How often that test is defined in `sources`, and run by default.
pub(super) fn definitions(sources: &str, test: &str) -> usize {
    let python = format!("    def {test}(self)");
    let rust = format!("fn {test}()");
    let blocks = sources.split("\n\n");
    let defined = |block: &&str| {
        let is_rust = block.contains(&rust)
            && (block.contains("#[test]") || block.contains("#[tokio::test"))
            && !block.contains("#[ignore");
        is_rust || block.contains(&python)
    };
    blocks.filter(defined).count()
}

fn table() -> String {
    let mut table = "| Step | fault | expected | tests |\n| --- | --- | --- | --- |\n".to_owned();
    for row in ROWS {
        let tests: Vec<String> = row.tests.iter().map(|test| format!("`{test}`")).collect();
        let (step, fault, expected) = (row.step, row.fault, row.expected);
        writeln!(
            table,
            "| {step} | {fault} | {expected} | {} |",
            tests.join(", ")
        )
        .unwrap();
    }
    table
}

#[test]
fn every_row_of_the_fault_matrix_has_its_tests() {
    let sources = test_sources();
    assert_eq!(definitions(&sources, "no_such_test"), 0);
    for row in ROWS {
        assert!(!row.tests.is_empty(), "{}", row.fault);
        for test in row.tests {
            assert_eq!(definitions(&sources, test), 1, "{test}");
        }
    }
}

/// Holds the text between two marks of a document against `expected`; with `MATRIX=write`, writes it
/// there.
pub(super) fn check_written(document: &str, begin: &str, end: &str, expected: &str) {
    let file = root().join(document);
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once(begin).expect("the text's beginning");
    let (written, after) = rest.split_once(end).expect("the text's end");
    if Environment::process().optional("MATRIX").as_deref() == Some("write") {
        std::fs::write(&file, format!("{before}{begin}{expected}{end}{after}")).unwrap();
        return;
    }
    assert_eq!(
        written, expected,
        "MATRIX=write cargo test -p tests --test faults in_the_book -- --test-threads 1"
    );
}

/// `MATRIX=write` brings the table up to date.
#[test]
fn the_fault_matrix_in_the_book_is_this_one() {
    check_written("docs/design/fault-matrix.md", BEGIN, END, &table());
}
