// Takes an order from its cart to shipped, and refunds a part of it, through the generated TypeScript client.
import { ApiError, client } from './orderflow.js';

declare const process: { argv: string[] };

const [, , serverUrl = 'http://localhost:9000', run = 'typescript'] = process.argv;
client.configure({ serverUrl });

// The chain may carry out the same step at the same time. It is in progress then, for seconds.
async function whenFree<T>(step: () => Promise<T>): Promise<T> {
  for (let tries = 30; ; tries -= 1) {
    try {
      return await step();
    } catch (error) {
      const isBusy = error instanceof ApiError && (error.body as { code?: string }).code === 'in_progress';
      if (!isBusy || tries === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
}

const customerId = '8080';
const items = [
  { productId: '1234', quantity: 2, price: 50 },
  { productId: '2345', quantity: 1, price: 100 },
];
const recipient = {
  name: 'Lital Hay',
  phone: '0545870006',
  shipping_address: '17 boulevard, 123 apt 6 Brooklyn NY',
};

const cart = await client.placeCart({ body: { customerId, items } }, { idempotencyKey: `cart-${run}` });
const { orderId, tax, subTotalAmount, totalAmount } = cart;
const invoice = await client.issueInvoice({
  body: { customerId, orderId, tax, subTotalAmount, totalAmount, currency: 'USD', items, ...recipient },
});
const payment = await whenFree(() =>
  client.payInvoice({ body: { customerId, invoiceId: invoice.invoiceId, totalAmount } }),
);
const shipment = await whenFree(() => client.shipOrder({ body: { orderId, ...recipient } }));
const order = await client.readOrder({ path: { orderId } });

const isSame =
  order.status === 'shipped' &&
  order.payment?.transactionId === payment.transactionId &&
  'tracking_number' in shipment &&
  order.tracking_number === shipment.tracking_number;
if (!isSame) throw new Error(`not shipped as answered: ${JSON.stringify(order)}`);

const refund = await client.refundOrder({
  body: { customerId, orderId, amount: 25.5 },
  headers: { 'Idempotency-Key': `refund-${run}` },
});
if (refund.refundedAmount !== 25.5) throw new Error(`not refunded as requested: ${JSON.stringify(refund)}`);

try {
  await client.readOrder({ path: { orderId: 'ord_00000000000000000000000000' } });
  throw new Error('an unknown order was found');
} catch (error) {
  if (!(error instanceof ApiError) || error.status !== 404) throw error;
}
console.log(`shipped ${orderId}`);
