// How long does the loop take, from light that the camera can see to the stimulus that answers it?
//
// This board lights an LED in the camera's view, and waits for the answer: a TTL edge of the stimulus on a pin, or its
// light on a photodiode. It prints a line for each trial, so that its clock alone decides. docs/measure-with-an-led.md
// says how it is wired. It is a board of its own, not the one that gives the stimulus.

#include <Arduino.h>

// ---- what you may want to change ----------------------------------------------------------------------------------
const unsigned long BAUD = 115200;
const uint8_t LED_PIN = 8;             // through 330 ohm to the LED, and from there to GND
const uint8_t ANSWER_PIN = 2;          // TTL of the stimulus; a pin with interrupts
const bool BY_LIGHT = false;           // true: the answer is light on a photodiode at A0
const int LIGHT_ABOVE = 400;           // of 1023: what counts as light there
const uint16_t TRIALS = 1000;
const uint32_t LED_ON_US = 200000;     // longer than the loop takes and than the trigger has to hold
const uint32_t WAIT_LEAST_MS = 400;    // between trials, drawn evenly, so that no frame rate stays in step with it;
const uint32_t WAIT_MOST_MS = 700;     // longer than the trigger's refractory time
const uint32_t MISSED_AFTER_US = 400000;
// --------------------------------------------------------------------------------------------------------------------

enum State : uint8_t { IDLE, WAITING, LIT, FINISHED };

State state = IDLE;
uint16_t trial = 0;
uint32_t begun_us = 0;            // of the state
uint32_t wait_us = 0;
bool answered_here = false;       // in this trial
volatile bool edge_seen = false;
volatile uint32_t edge_us = 0;
bool was_light = false;

void on_edge() {
  if (!edge_seen) edge_us = micros();  // the first edge since it was asked for
  edge_seen = true;
}

void look_for_light() {
  const bool is_light = analogRead(A0) > LIGHT_ABOVE;
  const uint32_t now_us = micros();
  if (is_light && !was_light && !edge_seen) {
    edge_us = now_us;
    edge_seen = true;
  }
  was_light = is_light;
}

bool take_edge(uint32_t *at_us) {
  noInterrupts();
  const bool seen = edge_seen;
  *at_us = edge_us;
  edge_seen = false;
  interrupts();
  return seen;
}

void report(const char *what, uint32_t latency_us) {
  Serial.print((uint32_t)trial);
  Serial.print(",");
  Serial.print(what);
  Serial.print(",");
  Serial.println(latency_us);
}

void rest_a_while() {
  digitalWrite(LED_PIN, LOW);
  state = WAITING;
  begun_us = micros();
  wait_us = (uint32_t)random(WAIT_LEAST_MS, WAIT_MOST_MS) * 1000;
}

void light() {
  trial++;
  answered_here = false;
  uint32_t ignored_us;
  take_edge(&ignored_us);
  state = LIT;
  begun_us = micros();
  digitalWrite(LED_PIN, HIGH);
}

void idle() {
  if (Serial.available() == 0) return;
  Serial.read();
  Serial.println("trial,what,latency_us");
  randomSeed(micros());  // when the key came is chance enough
  rest_a_while();
}

void waiting() {
  uint32_t at_us;
  if (take_edge(&at_us)) report("false", 0);  // an answer to no light
  if (micros() - begun_us < wait_us) return;
  if (trial == TRIALS) {
    state = FINISHED;
    Serial.println("finished");
  } else {
    light();
  }
}

void lit() {
  uint32_t at_us;
  if (take_edge(&at_us) && !answered_here) {
    answered_here = true;
    report("answered", at_us - begun_us);
  }
  const uint32_t lit_us = micros() - begun_us;
  if (lit_us >= LED_ON_US) digitalWrite(LED_PIN, LOW);  // an answer may still come
  if (answered_here && lit_us >= LED_ON_US) {
    rest_a_while();
  } else if (lit_us >= MISSED_AFTER_US) {
    report("missed", 0);
    rest_a_while();
  }
}

void setup() {
  digitalWrite(LED_PIN, LOW);
  pinMode(LED_PIN, OUTPUT);
  pinMode(ANSWER_PIN, INPUT);
  if (!BY_LIGHT) attachInterrupt(digitalPinToInterrupt(ANSWER_PIN), on_edge, RISING);
  Serial.begin(BAUD);
}

void loop() {
  if (BY_LIGHT) look_for_light();
  if (state == IDLE) idle();
  else if (state == WAITING) waiting();
  else if (state == LIT) lit();
}
