"""From the view to Observables.

Delivery order, decided before it was coded:

1. Steps are delivered in the order in which the view made them, on the loop's thread, one at a time. A put made by
   an observer steps the view at once; its delivery waits until the present step has reached everyone.
2. What the log says is told before the step that it makes: `db.versions` is the log's own stream, in turn. Within a
   step, subscriptions are served in the order in which they subscribed; receipts settle after all of them.
3. A subscription begins with the view as it is at that moment and skips the steps queued before it.
4. What is told outside of a step (the first item of a subscription, a value that was waited for, trouble) has a turn of
   its own: a put made by the observer steps the view at once and is delivered after it.
"""
