"""Observables on the view.

The order of delivery:

1. Steps are delivered in the order in which the view made them, on the loop's thread, one at a time. A put made by an
   observer steps the view at once; it is delivered after all observers have received the current step.
2. A version of the log is delivered on `db.versions` before the step that it causes. Within a step, subscriptions are
   served in the order in which they subscribed; receipts settle after all of them.
3. A subscription starts with the view at that moment and skips the steps queued before it.
4. Items outside of a step (the first item of a subscription, a downloaded value, an error) have turns of their own: a
   put made by the observer steps the view at once and is delivered afterwards.
"""
