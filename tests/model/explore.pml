/*
 * Everything that can happen, in every order: requests that arrive late, twice or never, answers that are lost, clients
 * that stand still, die and start again, collection, and a bucket that is wiped, made anew or put back to an earlier copy.
 *
 * A step of a client is one request with its answer. That is no loss: between the moment when a request is carried out
 * and the moment when its answer is heard, the client changes nothing that another can see. What is sent and what is
 * carried out are two steps for a PUT of an entry or a head, which takes what it says from the time when it was sent.
 *
 * Time is one event, AGE: a grace has passed since the floor was raised. It ends the leases that were taken before the
 * raise, as 5.2 has it, since those are five minutes shorter. All else about clocks is in assumption 4.
 */

#define CLIENTS 3
#define LOGS 2
#ifndef SLOTS
#define SLOTS 3
#endif

/* An entry is told from all others by what is in it and in all before it: three bits for each number, the id of the
   incarnation in front. Its hash is the same. */
#define body short
#define WRITES(b) ((b) & 7)
#define BEFORE(b) ((b) >> 3)
#define HASH(b) (b)
#define GENESIS(log) (log)
#define HEAD bucket.head

#include "log.pml"

/* -- what may happen, how often: from the environment ------------------------------------------------------------------ */

c_decl {
  \#include <stdlib.h>
  static int setting(const char *name) { char *text = getenv(name); return text ? atoi(text) : 0; }
}

byte deaths, clones, wipes;
byte keepers;              /* the clients that collect, a set of bits */
bool late, takes_copies, rests_on_copy;
bool calm;                 /* each request is carried out and answered */
byte numbers;              /* so many numbers are written at most */
int writes_of[CLIENTS];    /* what each may write */
int made;                  /* what has been written so far */

/* -- requests that are under way ---------------------------------------------------------------------------------------- */

typedef Letter { byte log; byte number; body b }

Letter sent[CLIENTS];      /* the one PUT of an entry that a client waits for */
Letter stray;              /* one that nobody waits for any more */
byte ahead[CLIENTS];        /* without SAME_NUMBER: how many numbers are passed over */

typedef Plan { bool made; byte etag, floor, point; body hash; int seen }

Plan plan[CLIENTS];        /* a head that is about to be put */

#define FORGET(letter) letter.log = 0; letter.number = 0; letter.b = 0
#define COUNTS(i, n, rule) ((ME.fresh || !RULE(LEASE_ENDS)) && (n) > ME.floor || !RULE(rule))

/* 5.11. What is learned otherwise waits until the client has looked. */
#define BELIEVES(i) (ME.sure || !RULE(CHECK_LIVE))

inline forget_place(i) {
  ME.log = 0; ME.cursor = 0; ME.hash = 0; ME.seen = 0; ME.floor = 0; ME.etag = 0; ME.fresh = false;
  ME.point = 0; ME.sure = false; ME.proven = 0; ME.proof = 0; ME.after = 0; ME.unaware = false; ME.stale = false
}

inline forget_requests(i) {
  FORGET(sent[i]); ahead[i] = 0;
  plan[i].made = false; plan[i].etag = 0; plan[i].floor = 0; plan[i].point = 0; plan[i].hash = 0; plan[i].seen = 0
}

/* What was learned of the number after the cursor: it is there. */
inline learn(i, found_) { move(i, found_); ahead[i] = 0 }

/* Nobody who was struck since it looked: in the moment between a look and the head that is put then, a client could name
   a checkpoint of entries that the bucket has lost. */
#define KEEPS(i) (keepers >> i & 1 && ME.life == OPEN && ME.log && BELIEVES(i) && !ME.unaware)

/* Up to the floor that the client knows, if that has been up for the grace: only when what is below one floor is gone is
   the next one raised. */
#define MAY_DELETE(i, n) (ENTRY(ME.log, n) && ((n) <= ME.floor || !RULE(BELOW_THE_FLOOR) && (n) <= HEAD.point) && \
                          (ME.floor < HEAD.floor || HEAD.aged || !RULE(GRACE)))
#define DELETING(i, n) atomic { KEEPS(i) && MAY_DELETE(i, n) -> \
                                printf("%d deletes entry %d\n", i, n); ENTRY(ME.log, n) = 0 }
#define SWEPT(log, n) !((n) >= 1 && ENTRY(log, 1) || (n) >= 2 && ENTRY(log, 2) || (n) >= SLOTS && ENTRY(log, SLOTS))

proctype Somebody(byte i) {
  bool done;
  do
  /* -- writing, 5.5 */
  :: atomic { writes_of[i] & ~made && ME.life != STOPPED ->
       if                                               /* the next of its writes, lowest bit first */
       :: writes_of[i] & ~made & 1 -> ME.pending = ME.pending | 1; made = made | 1
       :: !(writes_of[i] & ~made & 1) && writes_of[i] & ~made & 2 -> ME.pending = ME.pending | 2; made = made | 2
       :: !(writes_of[i] & ~made & 3) -> ME.pending = ME.pending | 4; made = made | 4
       fi }

  :: atomic { ME.life == OPEN && !ME.log && ME.pending && (bucket.head.log || incarnations < LOGS) ->
       printf("%d puts a first head\n", i);
       create_head(); look(i) }

  :: atomic { ME.life == OPEN && ME.log && ME.pending && !sent[i].log && BELIEVES(i) && ME.cursor + 1 + ahead[i] <= numbers ->
       printf("%d sends entry %d with %d\n", i, ME.cursor + 1 + ahead[i], ME.pending);
       sent[i].log = ME.log;
       sent[i].number = ME.cursor + 1 + ahead[i];
       sent[i].b = ME.hash << 3 | ME.pending }

  :: atomic { sent[i].log ->
       create(sent[i].log, sent[i].number, sent[i].b, done);
       if
       :: true ->                                       /* the answer is heard */
            printf("%d hears of entry %d: created %d, counts %d\n", i, sent[i].number, done,
                   COUNTS(i, sent[i].number, LEASE_CREATED));
            if
            :: done && late && !stray.log ->            /* and the request arrives once more, later */
                 stray.log = sent[i].log; stray.number = sent[i].number; stray.b = sent[i].b
            :: true
            fi;
            if
            :: done && COUNTS(i, sent[i].number, LEASE_CREATED) && ME.cursor + 1 + ahead[i] == sent[i].number ->
                 if
                 :: !BELIEVES(i) -> FORGET(sent[i])     /* and asks for it after a look */
                 :: else -> learn(i, sent[i].b); FORGET(sent[i])
                 fi
            :: !done && !RULE(READ_BACK) && ENTRY(ME.log, ME.cursor + 1) ->
                 ME.renamed = true;                     /* it is taken for somebody else's */
                 learn(i, ENTRY(ME.log, ME.cursor + 1));
                 ME.renamed = false;
                 FORGET(sent[i])
            :: else -> FORGET(sent[i])
            fi
       :: !calm ->                                      /* it is lost, or it is 412 since the request came twice */
            printf("%d hears nothing of entry %d: created %d\n", i, sent[i].number, done);
            if
            :: !RULE(READ_BACK) && ME.cursor + 1 == sent[i].number && ENTRY(sent[i].log, sent[i].number) ->
                 ME.renamed = true; learn(i, ENTRY(sent[i].log, sent[i].number)); ME.renamed = false
            :: !RULE(SAME_NUMBER) -> ahead[i]++
            :: else
            fi;
            if
            :: !RULE(UNKNOWN_IS_UNKNOWN) && ME.cursor + 1 == sent[i].number -> learn(i, sent[i].b)
            :: else
            fi;
            FORGET(sent[i])
       fi;
       done = false }

  :: atomic { sent[i].log && !calm ->   /* it is not carried out, or not yet, and the client gives up */
       printf("%d gives up entry %d\n", i, sent[i].number);
       if
       :: late && !stray.log -> stray.log = sent[i].log; stray.number = sent[i].number; stray.b = sent[i].b
       :: true
       fi;
       if
       :: !RULE(SAME_NUMBER) -> ahead[i]++
       :: else
       fi;
       if
       :: !RULE(UNKNOWN_IS_UNKNOWN) && ME.cursor + 1 == sent[i].number -> learn(i, sent[i].b)
       :: else
       fi;
       FORGET(sent[i]) }

  /* -- reading, 5.4 */
  :: atomic { ME.life == OPEN && ME.log && ME.cursor < numbers && ENTRY(ME.log, ME.cursor + 1) &&
              COUNTS(i, ME.cursor + 1, LEASE_FOUND) && BELIEVES(i) ->
       printf("%d finds entry %d\n", i, ME.cursor + 1);
       learn(i, ENTRY(ME.log, ME.cursor + 1)) }

  :: atomic { ME.life == OPEN && ME.log && ME.cursor < numbers && !ENTRY(ME.log, ME.cursor + 1) &&
              COUNTS(i, ME.cursor + 1, LEASE_ABSENT) && BELIEVES(i) ->
       printf("%d finds no entry %d\n", i, ME.cursor + 1);
       promise(!ON_THE_LOG(i) || ME.cursor == bucket.length, "a look ends at the end of the log") }

  /* -- the head, 5.2 */
  :: atomic { ME.life == OPEN && (!ME.fresh || ME.etag != HEAD.etag || ME.log != HEAD.log) ->
       printf("%d looks at the head\n", i);
       look(i) }

  :: atomic { ME.life == OPEN && ME.log && !ME.sure && RULE(CHECK_LIVE) ->
       printf("%d looks whether its log is there\n", i);
       confirm(i) }

  /* -- upkeep, 5.7 and 5.8 */
  :: atomic { KEEPS(i) && !plan[i].made && ME.etag == HEAD.etag && ME.log == HEAD.log &&
              ME.cursor > HEAD.point ->
       printf("%d makes a checkpoint at %d\n", i, ME.cursor);
       plan[i].made = true; plan[i].etag = ME.etag; plan[i].floor = HEAD.floor;
       plan[i].point = ME.cursor; plan[i].hash = ME.hash; plan[i].seen = ME.seen }

  :: atomic { KEEPS(i) && !plan[i].made && ME.etag == HEAD.etag && ME.log == HEAD.log &&
              HEAD.floor < HEAD.point && SWEPT(HEAD.log, HEAD.floor) ->
       printf("%d is to raise the floor to %d\n", i, HEAD.point);
       plan[i].made = true; plan[i].etag = ME.etag;
       plan[i].floor = (RULE(FLOOR_HAS_STATE) || HEAD.point >= bucket.length -> HEAD.point : HEAD.point + 1);
       plan[i].point = HEAD.point; plan[i].hash = HEAD.hash; plan[i].seen = HEAD.seen }

  :: atomic { plan[i].made && ME.life == OPEN && !ME.unaware ->                          /* refused, or its answer lost: it looks at the head again */
       replace_head(plan[i].etag, plan[i].floor, plan[i].point, plan[i].hash, plan[i].seen, done);
       printf("%d puts a head with floor %d, checkpoint %d: %d\n", i, plan[i].floor, plan[i].point, done);
       done = false;
       plan[i].made = false; plan[i].etag = 0; plan[i].floor = 0; plan[i].point = 0; plan[i].hash = 0; plan[i].seen = 0 }

  :: DELETING(i, 1)
  :: DELETING(i, 2)
  :: DELETING(i, SLOTS)

  /* -- the process */
  :: atomic { ME.life == CLOSED -> printf("%d opens\n", i); open(i) }

  :: atomic { ME.life == OPEN && deaths > 0 ->
       deaths--;
       if                                               /* what it sent may still arrive */
       :: sent[i].log && late && !stray.log ->
            stray.log = sent[i].log; stray.number = sent[i].number; stray.b = sent[i].b
       :: true
       fi;
       forget_requests(i);
       ME.life = CLOSED;
       ME.fresh = false; ME.sure = false; ME.unaware = false; ME.stale = false;
       ME.pending = (RULE(KEEP_DOUBTFUL) -> ME.pending | ME.doubtful : ME.pending);
       ME.doubtful = 0;
       if                                               /* its outbox is as it was, or as it was before anything went */
       :: true
       :: ME.pending = made & writes_of[i]
       fi;
       if                                               /* and so is the state on its disk, if it keeps any */
       :: ME.log && rests_on_copy -> printf("%d dies, its disk is at %d\n", i, ME.cursor)
       :: true -> printf("%d dies\n", i); forget_place(i)
       fi;
       ME.renamed = !RULE(KNOWN_AGAIN) }

  :: atomic { ME.life == STOPPED && deaths > 0 ->       /* the remedy: open anew, the outbox is kept */
       printf("%d is opened anew\n", i);
       deaths--; forget_requests(i); forget_place(i); ME.life = CLOSED }

  :: atomic { clones > 0 && i > 0 && client[0].pending & ~ME.pending ->
       printf("%d has a copy of the outbox of 0\n", i);
       clones--;
       copied = copied | client[0].pending;
       ME.pending = ME.pending | client[0].pending }
  od
}

/* -- the world ---------------------------------------------------------------------------------------------------------- */

Bucket kept;                 /* an earlier copy of the bucket */
bool has_copy;

inline copy(from, to) {
  to.head.log = from.head.log; to.head.floor = from.head.floor; to.head.point = from.head.point;
  to.head.hash = from.head.hash; to.head.seen = from.head.seen; to.head.aged = from.head.aged;
  to.head.etag = from.head.etag;
  for (n : 0 .. LOGS * (SLOTS + 1) - 1) { to.entry[n] = from.entry[n] }
  for (n : 0 .. SLOTS) { to.first[n] = from.first[n] }
  n = 0;
  to.length = from.length; to.logged = from.logged
}

inline clear(what) {
  what.head.log = 0; what.head.floor = 0; what.head.point = 0; what.head.hash = 0; what.head.seen = 0;
  what.head.aged = false;
  for (n : 0 .. LOGS * (SLOTS + 1) - 1) { what.entry[n] = 0 }
  for (n : 0 .. SLOTS) { what.first[n] = 0 }
  n = 0;
  what.length = 0; what.logged = 0
}

inline strike() {
  struck = true;
  for (i : 0 .. CLIENTS - 1) { ME.unaware = (ME.log && ME.life == OPEN) }
  i = 0
}

#define SURE_AND(what) (client[0].sure && client[0].what || client[1].sure && client[1].what || \
                        client[2].sure && client[2].what)

proctype World() {
  byte i, n;
  bool done;
  do
  :: timeout ->                /* nothing else can happen */
       promise(struck || copied || !(client[0].pending | client[1].pending | client[2].pending),
               "everything is committed in the end");
       break

  :: atomic { stray.log ->
       create(stray.log, stray.number, stray.b, done);
       printf("a late entry %d arrives: created %d\n", stray.number, done);
       done = false;
       FORGET(stray) }

  :: atomic { HEAD.floor && !HEAD.aged ->
       printf("a grace has passed\n");
       HEAD.aged = true;
       for (i : 0 .. CLIENTS - 1) { ME.fresh = ME.fresh && !(ME.log == HEAD.log && ME.floor < HEAD.floor) }
       i = 0 }

  :: atomic { takes_copies && !has_copy && !struck && HEAD.log ->
       printf("the bucket is copied\n");
       has_copy = true;
       copy(bucket, kept);
       for (i : 0 .. CLIENTS - 1) { ME.stale = (ME.log && ME.life == OPEN) }
       i = 0 }

  :: atomic { wipes > 0 && HEAD.log ->
       printf("the bucket is wiped\n");
       wipes--;
       clear(bucket);
       strike() }

  /* A copy that is put back is older than the moment for which a look is good. */
  :: atomic { has_copy && !SURE_AND(stale) && (bucket.length != kept.length || HEAD.etag != kept.head.etag || HEAD.log != kept.head.log) ->
       printf("the bucket is put back to the copy\n");
       copy(kept, bucket);
       clear(kept);
       kept.head.etag = 0; has_copy = false; takes_copies = false;
       strike();
       for (i : 0 .. CLIENTS - 1) { ME.stale = false }
       i = 0 }

  :: atomic { (struck && SURE_AND(unaware)) || (has_copy && SURE_AND(stale)) ->
       printf("a moment has passed\n");
       for (i : 0 .. CLIENTS - 1) { ME.sure = ME.sure && !ME.unaware && !ME.stale }
       i = 0 }
  od
}

init {
  atomic {
    c_code {
      now.broken = setting("BROKEN");
      now.no_excuse = setting("NO_EXCUSE");
      now.numbers = setting("NUMBERS");
      now.deaths = setting("DEATHS");
      now.clones = setting("CLONES");
      now.wipes = setting("WIPES");
      now.late = setting("LATE");
      now.calm = setting("CALM");
      now.keepers = setting("KEEPERS");
      now.takes_copies = setting("RESTORES");
      now.rests_on_copy = setting("DISKS");
      now.writes_of[0] = setting("WRITES_0");
      now.writes_of[1] = setting("WRITES_1");
    };
    run Somebody(0);
    run Somebody(1);
    run Somebody(2);
    run World()
  }
}
