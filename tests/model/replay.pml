/*
 * What a recorded run says, and nothing else: is it a run of the model?
 *
 * The record tells when a client made a request, what it heard and when, and which commits it told of. When the bucket
 * carried a request out, between the two, or ever if nothing was heard, is for the search to find. A promise that does
 * not hold, and a step that no rule allows, end that attempt; if one attempt comes to the end of the record, the run is
 * one of the model's. traces.py writes the record.
 *
 * A client moves its cursor when it has to: an answer that counts has to be in hand for each entry before what it sends.
 */

#define CLIENTS 16
#define LOGS 2
#define SLOTS 60
#define MANY 2000
#define FLIGHTS 24
#define POINTS 120

#define body short
hidden int b_writes[MANY], b_before[MANY], b_total[MANY];    /* entries */
#define WRITES(b) b_writes[b]
#define BEFORE(b) b_before[b]
#define HASH(b) (b)
#define GENESIS(log) (10000 + (log))
#define HEAD heard
#define promise(holds, name) (holds)

#include "log.pml"

Head heard;                                                  /* the head that a client hears of just now */

hidden int k_seq[MANY], k_hash[MANY], k_seen[MANY];          /* checkpoints */
hidden int h_log[MANY], h_floor[MANY], h_point[MANY], h_raised[MANY];   /* heads; raised: when, in seconds */

#define GET_ENTRY 1
#define PUT_ENTRY 2
#define DELETE_ENTRY 3
#define GET_HEAD 4
#define PUT_HEAD 5
#define GET_POINT 6
#define PUT_POINT 7

#define CALL 1
#define ANSWER 2
#define START 3
#define TOLD 4

#define UNKNOWN -1
#define UNCHANGED -2

hidden int q_client[MANY], q_verb[MANY], q_log[MANY], q_number[MANY];   /* requests */
hidden int q_what[MANY];       /* the entry, head or checkpoint that is put or found; 0 if nothing is there */
hidden int q_matching[MANY];   /* the head that the one to be replaced, or not to be sent again, is to be */
hidden int q_outcome[MANY];    /* UNKNOWN, UNCHANGED, 0 for a refusal, 1 */
hidden int q_date[MANY], q_now[MANY], q_flight[MANY];        /* the answer's date, the newest date known before it */
hidden int e_kind[MANY], e_of[MANY], e_writes[MANY];         /* events: of which request, or client */
hidden int events;

c_decl {
  \#include <stdio.h>
  \#include <stdlib.h>
  static int furthest = 0;
  static void row(FILE *file, int *columns[], int width, int count) {
    for (int n = 1; n <= count; n++)
      for (int c = 0; c < width; c++)
        if (fscanf(file, "%d", &columns[c][n]) != 1) { printf("pan: a record ends too soon\n"); exit(2); }
  }
  static void say(void) { printf("furthest event: %d\n", furthest); }
}

byte flight[FLIGHTS];          /* 1: under way; 2: carried out */
short request_of[FLIGHTS];
short got[CLIENTS * (SLOTS + 1)];  /* which request found the entry that a client has in hand */
int seen_at[CLIENTS];          /* the date of its lease */
short wanted[CLIENTS];         /* the head that it has heard of, whose checkpoint it has yet to read */
short sending[CLIENTS];
byte maker[POINTS + 1];        /* of each checkpoint: the client that stored it, counted from 1 */
short at;                      /* the event */

#define GOT(i, n) got[(i) * (SLOTS + 1) + (n)]
#define GRACE_SECONDS 3600
#define LEASE_SECONDS 3300
#define COUNTS(i, q) (q_number[q] > ME.floor && q_date[q] - seen_at[i] < LEASE_SECONDS)

inline hear(h) {
  heard.log = h_log[h]; heard.floor = h_floor[h]; heard.point = k_seq[h_point[h]];
  heard.hash = k_hash[h_point[h]]; heard.seen = k_seen[h_point[h]]; heard.etag = h
}

inline unhear() {
  heard.log = 0; heard.floor = 0; heard.point = 0; heard.hash = 0; heard.seen = 0; heard.etag = 0
}

/* 5.2: the head of request r is known now, and with it a place that it leaves standing. */
inline know(i, r) {
  hear(q_what[r]);
  if
  :: !ME.log || ME.cursor < heard.floor -> renew(i); jump(i)
  :: else -> renew(i)
  fi;
  seen_at[i] = q_date[r];
  wanted[i] = 0;
  unhear()
}

inline catch_up(i, needed) {
  do
  :: (needed) && ME.cursor < SLOTS && GOT(i, ME.cursor + 1) && COUNTS(i, GOT(i, ME.cursor + 1)) ->
       move(i, q_what[GOT(i, ME.cursor + 1)])
  :: else -> break
  od
}

inline begin_empty(i) {        /* a log without a checkpoint is known from its head */
  if
  :: !ME.log && wanted[i] && !h_point[q_what[wanted[i]]] -> know(i, wanted[i])
  :: else
  fi
}

/* -- what a client may ask for: the rules of section 5 -------------------------------------------------------------- */

inline call(i, r) {
  if
  :: q_verb[r] == PUT_ENTRY ->
       begin_empty(i);
       catch_up(i, ME.cursor < q_number[r] - 1);
       promise(ME.life == OPEN && ME.log == q_log[r], "it knows the log");
       promise(ME.cursor == q_number[r] - 1 && ME.hash == BEFORE(q_what[r]), "it aims at the number after the cursor");
       promise(!(WRITES(q_what[r]) & ME.seen), "nothing is sent that is known to be committed");
       promise(!sending[i] || !WRITES(q_what[r]), "one entry of a client is under way");
       sending[i] = (WRITES(q_what[r]) -> r : sending[i])
  :: q_verb[r] == PUT_HEAD && q_matching[r] ->
       promise(ME.life == OPEN && ME.log == h_log[q_what[r]] && ME.etag == q_matching[r], "it knows the head");
       promise(h_floor[q_what[r]] <= k_seq[h_point[q_what[r]]], "the floor has a state");
       promise(h_floor[q_what[r]] != h_floor[q_matching[r]] || !h_floor[q_what[r]] ||
               h_raised[q_what[r]] == h_raised[q_matching[r]], "the time of the raise is carried on");
       promise(h_floor[q_what[r]] == h_floor[q_matching[r]] || h_raised[q_what[r]] == UNKNOWN ||
               h_raised[q_what[r]] != h_raised[q_matching[r]], "a raise has a time of its own");
       promise(h_point[q_what[r]] == h_point[q_matching[r]] || maker[h_point[q_what[r]]] == i + 1,
               "it names the checkpoint that it has made")
  :: q_verb[r] == GET_HEAD && q_matching[r] -> begin_empty(i)
  :: q_verb[r] == PUT_POINT ->
       begin_empty(i);
       catch_up(i, ME.cursor < k_seq[q_what[r]]);
       promise(k_seq[q_what[r]] && k_seq[q_what[r]] <= ME.cursor, "it has read so far");
       promise(k_hash[q_what[r]] == HASH_OF_FIRST(k_seq[q_what[r]]) &&
               k_seen[q_what[r]] == b_total[k_hash[q_what[r]]], "a checkpoint is the log's fold");
       maker[q_what[r]] = i + 1
  :: q_verb[r] == DELETE_ENTRY ->
       promise(ME.life == OPEN && q_log[r] == ME.log && q_number[r] <= ME.floor, "only what is below the floor");
       promise(h_raised[ME.etag] >= 0 && q_now[r] - h_raised[ME.etag] >= GRACE_SECONDS, "the grace is kept")
  :: else
  fi
}

/* -- what a client learns -------------------------------------------------------------------------------------------- */

inline learn(i, r) {
  if
  :: q_verb[r] == GET_HEAD && q_outcome[r] == UNCHANGED ->
       promise(ME.log && ME.etag == q_matching[r], "it knows the head");
       seen_at[i] = q_date[r]
  :: q_verb[r] == GET_HEAD && q_outcome[r] == 0 -> ME.life = (ME.log -> STOPPED : ME.life)
  :: q_verb[r] == GET_HEAD && q_outcome[r] == 1 ->
       if
       :: ME.log && (h_log[q_what[r]] != ME.log || h_floor[q_what[r]] < ME.floor) -> ME.life = STOPPED
       :: else ->
            catch_up(i, ME.log && ME.cursor < h_floor[q_what[r]]);
            wanted[i] = r;
            if
            :: ME.log && ME.cursor >= h_floor[q_what[r]] -> know(i, r)
            :: else
            fi
       fi
  :: q_verb[r] == GET_POINT && q_outcome[r] == 1 ->
       if
       :: wanted[i] && h_point[q_what[wanted[i]]] == q_what[r] -> know(i, wanted[i])
       :: else
       fi
  :: q_verb[r] == GET_ENTRY && q_outcome[r] == 1 && !ME.log && wanted[i] ->
       if                      /* a local copy goes on from here: 5.3 */
       :: q_number[r] > h_floor[q_what[wanted[i]]] && q_date[r] - q_date[wanted[i]] < LEASE_SECONDS ->
            hear(q_what[wanted[i]]);
            renew(i);
            seen_at[i] = q_date[wanted[i]];
            wanted[i] = 0;
            unhear();
            ME.cursor = q_number[r]; ME.hash = q_what[r]; ME.seen = b_total[q_what[r]]
       :: else
       fi
  :: (q_verb[r] == GET_ENTRY && q_outcome[r] == 1 && ME.log || q_verb[r] == PUT_ENTRY && q_outcome[r] == 1) &&
     q_log[r] == ME.log && q_number[r] > ME.cursor ->
       if                      /* found again later, when a look is due: the client has moved already */
       :: GOT(i, q_number[r]) && COUNTS(i, GOT(i, q_number[r])) -> skip
       :: else -> GOT(i, q_number[r]) = r
       fi
  :: else
  fi;
  sending[i] = (sending[i] == r -> 0 : sending[i])
}

/* -- what the bucket does ---------------------------------------------------------------------------------------------- */

#define IS_READ(r) (q_verb[r] == GET_ENTRY && q_what[r] == ENTRY(q_log[r], q_number[r]) || \
  q_verb[r] == GET_HEAD && (q_outcome[r] == UNCHANGED && bucket.head.etag == q_matching[r] || \
                            q_outcome[r] == 0 && !bucket.head.log || \
                            q_outcome[r] == 1 && bucket.head.log && bucket.head.etag == q_what[r]) || \
  q_verb[r] == GET_POINT || q_verb[r] == PUT_POINT || \
  q_verb[r] == PUT_ENTRY && q_outcome[r] == 0 && ENTRY(q_log[r], q_number[r]) || \
  q_verb[r] == PUT_HEAD && q_outcome[r] == 0 && bucket.head.log && bucket.head.etag != q_matching[r] || \
  q_verb[r] == DELETE_ENTRY && q_outcome[r] == 1 && !ENTRY(q_log[r], q_number[r]))

/* Also what is refused: a request that arrives twice is refused the second time. */
#define TAKES_EFFECT(r) (q_verb[r] == PUT_ENTRY && !ENTRY(q_log[r], q_number[r]) || \
  q_verb[r] == DELETE_ENTRY && ENTRY(q_log[r], q_number[r]) || \
  q_verb[r] == PUT_HEAD && !q_matching[r] && !bucket.head.log || \
  q_verb[r] == PUT_HEAD && q_matching[r] && bucket.head.log && bucket.head.etag == q_matching[r])

inline answer_reads() {        /* what changes nothing is carried out as soon as the answer fits */
  n = 0;
  do
  :: n < FLIGHTS ->
       if
       :: flight[n] == 1 && IS_READ(request_of[n]) -> flight[n] = 2
       :: else
       fi;
       n++
  :: else -> break
  od;
  n = 0
}

proctype Flight(byte f) {
  byte n;
  bool done;
  do
  :: atomic { flight[f] == 1 && TAKES_EFFECT(request_of[f]) ->
       if
       :: q_verb[request_of[f]] == PUT_ENTRY ->
            create(q_log[request_of[f]], q_number[request_of[f]], q_what[request_of[f]], done)
       :: q_verb[request_of[f]] == DELETE_ENTRY -> ENTRY(q_log[request_of[f]], q_number[request_of[f]]) = 0
       :: q_verb[request_of[f]] == PUT_HEAD && !q_matching[request_of[f]] ->
            incarnations = h_log[q_what[request_of[f]]] - 1;
            create_head();
            bucket.head.etag = q_what[request_of[f]]
       :: else ->
            replace_head(q_matching[request_of[f]], h_floor[q_what[request_of[f]]],
                         k_seq[h_point[q_what[request_of[f]]]], k_hash[h_point[q_what[request_of[f]]]],
                         k_seen[h_point[q_what[request_of[f]]]], done);
            bucket.head.etag = q_what[request_of[f]]
       fi;
       done = false;
       if                      /* nobody waits for it any more */
       :: q_outcome[request_of[f]] == UNKNOWN -> flight[f] = 0; request_of[f] = 0
       :: else -> flight[f] = 2
       fi;
       answer_reads() }
  od
}

/* -- the record ----------------------------------------------------------------------------------------------------------- */

#define R e_of[at]
#define NEXT at++; c_code { if (now.at > furthest) furthest = now.at; }

inline forget(i) {
  ME.life = OPEN; ME.log = 0; ME.cursor = 0; ME.hash = 0; ME.seen = 0; ME.floor = 0; ME.etag = 0; ME.fresh = false;
  seen_at[i] = 0; wanted[i] = 0; sending[i] = 0;
  n = 0;
  do
  :: n <= SLOTS -> GOT(i, n) = 0; n++
  :: else -> break
  od;
  n = 0
}

proctype Record() {
  byte n;
  do
  :: atomic { at <= events && e_kind[at] == START -> forget(e_of[at]); NEXT }
  :: atomic { at <= events && e_kind[at] == CALL ->
       call(q_client[R], R);
       request_of[q_flight[R]] = R; flight[q_flight[R]] = 1;
       answer_reads();
       NEXT }
  :: atomic { at <= events && e_kind[at] == ANSWER && flight[q_flight[R]] == 2 && request_of[q_flight[R]] == R ->
       flight[q_flight[R]] = 0; request_of[q_flight[R]] = 0;
       learn(q_client[R], R);
       NEXT }
  :: atomic { at <= events && e_kind[at] == ANSWER && q_outcome[R] == UNKNOWN ->
       learn(q_client[R], R);
       NEXT }
  :: atomic { at <= events && e_kind[at] == TOLD ->     /* a client says that its writes are committed */
       begin_empty(e_of[at]);
       catch_up(e_of[at], e_writes[at] & ~client[e_of[at]].seen);
       promise(!client[e_of[at]].log || !(e_writes[at] & ~client[e_of[at]].seen), "it has seen them in the log");
       promise(!(e_writes[at] & ~bucket.logged), "what is acknowledged is in the log");
       NEXT }
  :: at > events -> c_code { uerror("replayed"); }
  od
}

init {
  byte f;
  atomic {
    c_code {
      int counts[5], copies = 0;
      FILE *file = fopen(getenv("RECORD"), "r");
      if (!file || fscanf(file, "%d %d %d %d %d %d", &counts[0], &counts[1], &counts[2], &counts[3], &counts[4], &copies) != 6)
        { printf("pan: no record\n"); exit(2); }
      int *entries[] = { b_writes, b_before, b_total };
      int *points[] = { k_seq, k_hash, k_seen };
      int *heads[] = { h_log, h_floor, h_point, h_raised };
      int *requests[] = { q_client, q_verb, q_log, q_number, q_what, q_matching, q_outcome, q_date, q_now, q_flight };
      int *happened[] = { e_kind, e_of, e_writes };
      row(file, entries, 3, counts[0]);
      row(file, points, 3, counts[1]);
      row(file, heads, 4, counts[2]);
      row(file, requests, 10, counts[3]);
      row(file, happened, 3, counts[4]);
      events = counts[4];
      now.copied = copies;
      now.at = 1;
      fclose(file);
      atexit(say);
    };
    run Record();
    f = 0;
    do
    :: f < FLIGHTS - 1 -> run Flight(f); f++      /* in the last place nothing takes effect */
    :: else -> break
    od
  }
}
