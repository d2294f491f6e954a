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
#define CHECK_LIVE 21        /* what is learned counts only if the log was there a moment ago: 5.11 */
#define CHECK_PLACE 22       /*   and in it the entries that the client has read last */
#define COMPARE_PROVEN 23    /* a local copy goes on only where also the entry is that was last when its log was seen */
#define KEEP_DOUBTFUL 24     /* what was acknowledged since then is kept until the log is seen to be there again */

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
  byte floor;        /* of the head as last seen, */
  byte point;        /*   and the number of its checkpoint */
  byte etag;
  bool fresh;        /* the lease has not ended */
  bool renamed;      /* without KNOWN_AGAIN: its writes have other names than those in the log */
  bool sure;         /* 5.11: the log was seen to be there a moment ago, */
  byte proven;       /*   with this number as its last, */
  body proof;        /*   whose hash was this, */
  body after;        /*   and this is that of the one after it, once it is known; */
  int doubtful;      /*   and these writes were acknowledged since */
  bool unaware;      /* the bucket was wiped or put back since then, */
  bool stale         /*   or the copy that may be put back was made */
}

Client client[CLIENTS];

#define ON_THE_LOG(i) (ME.log && ME.log == bucket.head.log && ME.cursor <= bucket.length && \
                       ME.hash == HASH_OF_FIRST(ME.cursor))

/* Who is struck between two looks may be told of a commit that is not in the log, until the next one is due. */
#define EXCUSED(i) (!no_excuse && !ON_THE_LOG(i) && ME.unaware && ME.sure)

/* What is pending and in the state is committed: 5.5.4. */
inline settle(i) {
  if
  :: ME.renamed
  :: else ->
       promise(!(ME.pending & ME.seen & ~bucket.logged) || EXCUSED(i), "what is acknowledged is in the log");
       acknowledged = acknowledged | (ME.pending & ME.seen);
       ME.doubtful = ME.doubtful | (ME.pending & ME.seen);
       ME.pending = ME.pending & ~ME.seen
  fi
}

/* What was acknowledged in vain is to be sent again: it is named, and the outbox has it. */
inline stop(i) {
  promise(struck, "nobody finds the log damaged");
  ME.pending = (RULE(KEEP_DOUBTFUL) -> ME.pending | ME.doubtful : ME.pending);
  promise(!(ME.doubtful & ~bucket.logged & ~ME.pending), "what is acknowledged in vain is kept");
  ME.doubtful = 0; ME.sure = false; ME.unaware = false; ME.stale = false;
  ME.life = STOPPED
}

/* The log was seen to be there, up to the cursor. */
inline saw(i) {
  ME.sure = true; ME.proven = ME.cursor; ME.proof = ME.hash; ME.after = 0; ME.doubtful = 0;
  ME.unaware = false; ME.stale = false
}

/* The cursor moves over the entry after it, whose bytes are in hand: 5.1, 5.4. */
inline move(i, found_) {
  if
  :: BEFORE(found_) != ME.hash && RULE(CHAIN) -> stop(i)
  :: else ->
       promise(!(ME.seen & WRITES(found_)) || RULE(COUNT_ONCE), "a write counts once");
       ME.seen = ME.seen | WRITES(found_);
       ME.after = (ME.cursor == ME.proven -> HASH(found_) : ME.after);
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
  ME.point = HEAD.point;
  ME.etag = HEAD.etag;
  ME.fresh = true
}

/* GET of the head, by a client that is open: 5.2, 5.3. */
inline look(i) {
  if
  :: !HEAD.log && !ME.log
  :: !HEAD.log && ME.log -> stop(i)
  :: HEAD.log && !ME.log -> renew(i); jump(i); saw(i); settle(i)
  :: HEAD.log && ME.log ->
       if
       :: HEAD.log != ME.log && RULE(SAME_LOG) -> stop(i)
       :: HEAD.log == ME.log && (HEAD.floor < ME.floor || HEAD.point < ME.point) -> stop(i)
       :: else ->
            renew(i);
            if
            :: ME.cursor < ME.floor -> jump(i); settle(i)
            :: else
            fi
       fi
  fi
}

/* 5.11, by a client that is open: the head names the log, no less than before, and the entries read last are there. */
#define IS_THERE(n, h) (!(n) || (n) <= HEAD.floor || HASH(ENTRY(ME.log, n)) == (h))
#define ARE_THERE(i) (IS_THERE(ME.proven, ME.proof) && (!ME.after || IS_THERE(ME.proven + 1, ME.after)))
inline confirm(i) {
  if
  :: HEAD.log == ME.log && RULE(CHECK_PLACE) && !(IS_THERE(ME.cursor, ME.hash) && ARE_THERE(i)) -> stop(i)
  :: else ->
       look(i);
       if
       :: ME.life == OPEN -> saw(i)
       :: else
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
       :: ME.cursor <= HEAD.floor && RULE(COPY_ABOVE_FLOOR) -> jump(i); saw(i); settle(i)
       :: else ->
            if
            :: ME.cursor && HASH(ENTRY(ME.log, ME.cursor)) != ME.hash && RULE(COMPARE_PLACE) -> stop(i)
            :: !ARE_THERE(i) && RULE(COMPARE_PROVEN) -> stop(i)
            :: else ->
                 promise(!ME.cursor || HASH(ENTRY(ME.log, ME.cursor)) == ME.hash, "nobody goes on from what is not there");
                 saw(i);
                 settle(i)
            fi
       fi
  fi
}
