/*
 * The sequenced log: what is in the bucket, what a client knows, and the rules by which it acts.
 *
 * docs/protocol.md says the same in words; the numbers below are its sections. This file holds the rules. Two others
 * put them to work: explore.pml lets everything happen that can, replay.pml only what a recorded run says.
 *
 * A rule is off if its bit in `broken` is set. A promise that does not hold ends the search with its name.
 *
 * Whoever includes this file says first
 *   CLIENTS, LOGS, SLOTS     how many clients, incarnations, and numbers of a log there are
 *   body                     the type of an entry's bytes; 0 is no entry
 *   WRITES(b)                the writes in an entry, a set of bits
 *   BEFORE(b)                the hash of the entry before it
 *   HASH(b)                  its own hash
 *   GENESIS(log)             what entry 1 of an incarnation has as the hash before it
 *   HEAD                     the head that an answer has just shown to a client
 */

#define ENTRY(log, n) bucket.entry[((log) - 1) * (SLOTS + 1) + (n)]
#define ME client[i]

/* -- rules, each of which can be switched off -------------------------------------------------------------------- */

int broken;
#define RULE(r) (!(broken >> (r) & 1))

#define CREATE_IF_ABSENT 0   /* an entry never replaces another */
#define READ_BACK 1          /* after a refusal the entry found may hold one's own writes */
#define SAME_NUMBER 2        /* no new number while the outcome of an older one is unknown */
#define UNKNOWN_IS_UNKNOWN 3 /* no answer is no success */
#define LEASE_CREATED 4      /* "created" counts only under a lease */
#define LEASE_FOUND 5        /* "found" counts only under a lease */
#define LEASE_ABSENT 6       /* "not there" counts only under a lease */
#define LEASE_ENDS 7         /* a lease ends before what it speaks of may be deleted */
#define GRACE 8              /* nothing is deleted until the floor has been up for the grace */
#define GRACE_ANEW 9         /* each raise of the floor has a grace of its own */
#define BELOW_THE_FLOOR 10   /* only entries up to the floor are deleted */
#define FLOOR_HAS_STATE 11   /* the floor is not above the checkpoint */
#define IF_MATCH 12          /* the head is replaced only if it is the one that was looked at */
#define ONE_FIRST_HEAD 13    /* the first head is created if absent */
#define COUNT_ONCE 14        /* folding skips a write that it has seen */
#define MARKS_KEPT 15        /* a checkpoint says which writes are in it */
#define KNOWN_AGAIN 16       /* a write that is sent again after a restart is the same write */
#define COMPARE_PLACE 17     /* a local copy goes on only where the log has the entry that it has read last */
#define COPY_ABOVE_FLOOR 18  /* a local copy goes on only above the floor */
#define SAME_LOG 19          /* a head of another incarnation is not followed */
#define CHAIN 20             /* an entry that does not name the one before it is not folded */
#define CHECK_LIVE 21        /* see explore.pml; not in force today */

#ifndef promise
#define promise(holds, name) if :: (holds) :: else -> c_code { uerror(name); } fi
#endif

/* -- the bucket ----------------------------------------------------------------------------------------------------- */

typedef Head {
  byte log;       /* the incarnation; 0 if there is no head */
  byte floor;
  byte point;     /* the number of the newest checkpoint, and what that says: */
  body hash;      /*   the hash of the entry there */
  int seen;       /*   the writes up to there */
  bool aged;      /* the floor was raised a grace ago */
  byte etag
}

typedef Bucket {
  Head head;
  body entry[LOGS * (SLOTS + 1)];
  /* What really happened, in the log that the head names. Nobody reads this but the promises. */
  body first[SLOTS + 1];  /* the first content of each number */
  byte length;
  int logged              /* the writes in it */
}

Bucket bucket;
byte incarnations;        /* ids of incarnations are never used again */
int acknowledged;
int copied;               /* the writes that two processes may send, since an outbox was copied */
bool no_excuse;           /* to show that the excuse is needed */
bool struck;              /* the bucket was wiped, or put back to an earlier copy */

#define HASH_OF_FIRST(n) ((n) -> HASH(bucket.first[n]) : GENESIS(bucket.head.log))

/* Extend the true log by what now follows it. */
inline witness() {
  do
  :: bucket.length < SLOTS && bucket.head.log && ENTRY(bucket.head.log, bucket.length + 1) &&
     BEFORE(ENTRY(bucket.head.log, bucket.length + 1)) == HASH_OF_FIRST(bucket.length) ->
       bucket.length++;
       bucket.first[bucket.length] = ENTRY(bucket.head.log, bucket.length);
       promise(!(WRITES(bucket.first[bucket.length]) & bucket.logged & ~copied), "each write is in the log once");
       bucket.logged = bucket.logged | WRITES(bucket.first[bucket.length])
  :: else -> break
  od
}

/* PUT of an entry, If-None-Match: *. */
inline create(where_, number_, bytes_, created_) {
  if
  :: ENTRY(where_, number_) && RULE(CREATE_IF_ABSENT) -> created_ = false
  :: else ->
       created_ = true;
       promise(!ENTRY(where_, number_), "one content per number");
       promise(where_ != bucket.head.log || number_ <= bucket.length + 1 || struck, "no holes");
       promise(where_ != bucket.head.log || number_ > bucket.length || number_ <= bucket.head.floor || struck,
               "only what is below the floor is deleted");
       ENTRY(where_, number_) = bytes_;
       if
       :: where_ == bucket.head.log -> witness()
       :: else
       fi
  fi
}

/* PUT of the first head, If-None-Match: *. */
inline create_head() {
  if
  :: bucket.head.log && RULE(ONE_FIRST_HEAD)
  :: else ->
       promise(!bucket.head.log, "the head keeps its log");
       incarnations++;
       bucket.head.log = incarnations;
       bucket.head.etag++
  fi
}

/* PUT of a head, If-Match: 5.7 and 5.8.1. */
inline replace_head(matching, floor_, point_, hash_, seen_, replaced) {
  replaced = false;
  if
  :: bucket.head.log && (bucket.head.etag == matching || !RULE(IF_MATCH)) ->
       promise(floor_ >= bucket.head.floor && point_ >= bucket.head.point, "floor and checkpoint only rise");
       promise(struck || point_ == 0 || hash_ == HASH(bucket.first[point_]), "a checkpoint is the log's fold");
       replaced = true;
       bucket.head.aged = (floor_ == bucket.head.floor || !RULE(GRACE_ANEW) -> bucket.head.aged : false);
       bucket.head.floor = floor_;
       bucket.head.point = point_;
       bucket.head.hash = hash_;
       bucket.head.seen = seen_;
       bucket.head.etag++
  :: else
  fi
}

/* -- a client ---------------------------------------------------------------------------------------------------------- */

mtype = { CLOSED, OPEN, STOPPED };

typedef Client {
  mtype life = CLOSED;
  byte log;          /* the incarnation that it knows; 0 if none */
  byte cursor;       /* 5.1: the number of an entry, */
  body hash;         /*   the hash of that, */
  int seen;          /*   and the writes in the state after it */
  int pending;
  byte floor;        /* of the head as last seen */
  byte etag;
  bool fresh;        /* the lease has not ended */
  bool renamed;      /* without KNOWN_AGAIN: its writes have other names than those in the log */
  bool unaware;      /* it has not looked at the head since the bucket was wiped, */
  bool astray        /*   or not opened it anew since it was put back to an earlier copy */
}

Client client[CLIENTS];

#define ON_THE_LOG(i) (ME.log && ME.log == bucket.head.log && ME.cursor <= bucket.length && \
                       ME.hash == HASH_OF_FIRST(ME.cursor))

/* Who is unaware or astray may be told of a commit that is not in the log: that is so today, and CHECK_LIVE would end
   it. Whoever has looked, or opened, since then may not. */
#define EXCUSED(i) (!no_excuse && !ON_THE_LOG(i) && (ME.unaware || ME.astray) && !RULE(CHECK_LIVE))

/* What is pending and in the state is committed: 5.5.4. */
inline settle(i) {
  if
  :: ME.renamed
  :: else ->
       promise(!(ME.pending & ME.seen & ~bucket.logged) || EXCUSED(i), "what is acknowledged is in the log");
       acknowledged = acknowledged | (ME.pending & ME.seen);
       ME.pending = ME.pending & ~ME.seen
  fi
}

inline stop(i) {
  promise(struck, "nobody finds the log damaged");
  ME.life = STOPPED
}

/* The cursor moves over the entry after it, whose bytes are in hand: 5.1, 5.4. */
inline move(i, found_) {
  if
  :: BEFORE(found_) != ME.hash && RULE(CHAIN) -> stop(i)
  :: else ->
       promise(!(ME.seen & WRITES(found_)) || RULE(COUNT_ONCE), "a write counts once");
       ME.seen = ME.seen | WRITES(found_);
       ME.hash = HASH(found_);
       ME.cursor++;             /* last, since found_ may be an expression with the cursor in it */
       settle(i);
       promise(ON_THE_LOG(i) || struck, "everybody reads the same log")
  fi
}

/* The head leaves the log standing above this client's place: go to its checkpoint. 5.2, last sentence. */
inline jump(i) {
  ME.cursor = HEAD.point;
  ME.hash = (ME.cursor -> HEAD.hash : GENESIS(HEAD.log));
  ME.seen = (RULE(MARKS_KEPT) -> HEAD.seen : 0);
  promise(ME.cursor >= HEAD.floor, "whoever is left behind recovers");
  promise(ON_THE_LOG(i) || struck, "whoever is left behind recovers")
}

inline renew(i) {
  ME.log = HEAD.log;
  ME.floor = HEAD.floor;
  ME.etag = HEAD.etag;
  ME.fresh = true;
  ME.unaware = false
}

/* GET of the head, by a client that is open: 5.2, 5.3. */
inline look(i) {
  if
  :: !HEAD.log && !ME.log
  :: !HEAD.log && ME.log -> stop(i)
  :: HEAD.log && !ME.log -> renew(i); ME.astray = false; jump(i); settle(i)
  :: HEAD.log && ME.log ->
       if
       :: HEAD.log != ME.log && RULE(SAME_LOG) -> stop(i)
       :: HEAD.log == ME.log && HEAD.floor < ME.floor -> stop(i)
       :: else ->
            renew(i);
            if
            :: ME.cursor < ME.floor -> jump(i); settle(i)
            :: else
            fi
       fi
  fi
}

/* 5.3, by a client that has no local copy, or one of the place where it was. */
inline open(i) {
  ME.life = OPEN;
  if
  :: !ME.log || !HEAD.log || HEAD.log != ME.log -> look(i)
  :: else ->
       renew(i);
       if
       :: ME.cursor <= HEAD.floor && RULE(COPY_ABOVE_FLOOR) -> jump(i); settle(i)
       :: else ->
            if
            :: ME.cursor && HASH(ENTRY(ME.log, ME.cursor)) != ME.hash && RULE(COMPARE_PLACE) -> stop(i)
            :: else ->
                 promise(!ME.cursor || HASH(ENTRY(ME.log, ME.cursor)) == ME.hash, "nobody goes on from what is not there");
                 settle(i)
            fi
       fi
  fi
}
