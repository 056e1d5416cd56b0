// Booking books seats of a show at two box offices that do not talk to each other.
//
// What every client of Streamgate does is here: append behind what it knows and decide again when
// others were faster, read a history, repeat an append whose answer was lost, and follow.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "streamgate.example/booking/gen/streamgate/v1"
)

// booking is the payload of an event.
type booking struct {
	Seat string `json:"seat"`
	Name string `json:"name"`
}

func bookingOf(event *v1.RecordedEvent) (booking, error) {
	var booked booking
	err := json.Unmarshal(event.GetPayload(), &booked)
	return booked, err
}

// boxOffice is what one box office knows of a show.
type boxOffice struct {
	store       store
	show        *v1.ObjectRef
	nextVersion uint64
	seats       map[string]string
}

func newBoxOffice(store store, show *v1.ObjectRef) *boxOffice {
	return &boxOffice{store: store, show: show, seats: make(map[string]string)}
}

func (o *boxOffice) learn(event *v1.RecordedEvent) error {
	booked, err := bookingOf(event)
	if err != nil {
		return err
	}
	o.seats[booked.Seat] = booked.Name
	o.nextVersion = event.GetVersion() + 1
	return nil
}

// book books a seat; it returns the request that did it, or nil if the seat is taken.
func (o *boxOffice) book(ctx context.Context, seat, name string) (*v1.AppendRequest, error) {
	for o.seats[seat] == "" {
		request, err := o.decide(seat, name)
		if err != nil {
			return nil, err
		}
		answer, err := o.store.append(ctx, request)
		if err == nil {
			o.seats[seat] = name
			o.nextVersion = answer.GetLastVersion() + 1
			fmt.Printf("%s is booked for %s: version %d\n", seat, name, answer.GetLastVersion())
			return request, nil
		}
		if reason(err) != "WRONG_EXPECTED_VERSION" {
			return nil, err
		}
		// Somebody was faster: see what they did, then decide again.
		if err := o.store.read(ctx, o.show, o.nextVersion, o.learn); err != nil {
			return nil, err
		}
	}
	fmt.Printf("%s is taken by %s, not free for %s\n", seat, o.seats[seat], name)
	return nil, nil
}

// decide makes the append of a booking, on the condition that nothing happened that the box office
// does not know. The event has its id from now on, however often it is sent.
func (o *boxOffice) decide(seat, name string) (*v1.AppendRequest, error) {
	payload, err := json.Marshal(booking{Seat: seat, Name: name})
	if err != nil {
		return nil, err
	}
	expected := &v1.ExpectedVersion{Kind: &v1.ExpectedVersion_NoStream{NoStream: &emptypb.Empty{}}}
	if o.nextVersion > 0 {
		expected.Kind = &v1.ExpectedVersion_Exact{Exact: o.nextVersion - 1}
	}
	return &v1.AppendRequest{
		Object:          o.show,
		ExpectedVersion: expected,
		Events: []*v1.NewEvent{{
			EventId:     uuid.NewString(),
			EventType:   "SeatBooked",
			ContentType: "application/json",
			Payload:     payload,
			OccurredAt:  timestamppb.Now(),
		}},
	}, nil
}

// tell returns a function that prints an event behind a word.
func tell(word string) func(*v1.RecordedEvent) error {
	return func(event *v1.RecordedEvent) error {
		booked, err := bookingOf(event)
		if err == nil {
			fmt.Printf("%s %d: %s for %s\n", word, event.GetVersion(), booked.Seat, booked.Name)
		}
		return err
	}
}

// followOnce tells the first batch of a follower that ends with it, and returns its token.
func followOnce(
	ctx context.Context, store store, show *v1.ObjectRef, token []byte, word string,
) ([]byte, error) {
	var failure error
	err := store.follow(ctx, show, token, func(events []*v1.RecordedEvent, next []byte) bool {
		token = next
		for _, event := range events {
			if failure = tell(word)(event); failure != nil {
				break
			}
		}
		return false
	})
	if err == nil {
		err = failure
	}
	return token, err
}

func run(ctx context.Context, store store) error {
	show := &v1.ObjectRef{ObjectName: "show", ObjectId: uuid.NewString()}

	north, south := newBoxOffice(store, show), newBoxOffice(store, show)
	if _, err := north.book(ctx, "A1", "Ada"); err != nil {
		return err
	}
	if _, err := south.book(ctx, "A1", "Bob"); err != nil {
		return err
	}
	if _, err := south.book(ctx, "A2", "Bob"); err != nil {
		return err
	}
	request, err := north.book(ctx, "A3", "Cyd")
	if err != nil {
		return err
	}

	// As if the answer had been lost.
	again, err := store.append(ctx, request)
	if err != nil {
		return err
	}
	fmt.Printf("sent again: version %d, replay %t\n", again.GetLastVersion(), again.GetReplay())

	if err := store.read(ctx, show, 0, tell("read")); err != nil {
		return err
	}

	// A follower that ends, and another that goes on behind it.
	token, err := followOnce(ctx, store, show, nil, "followed")
	if err != nil {
		return err
	}
	if _, err := north.book(ctx, "A4", "Dan"); err != nil {
		return err
	}
	_, err = followOnce(ctx, store, show, token, "went on with")
	return err
}

func main() {
	log.SetFlags(0)
	server := os.Getenv("STREAMGATE_SERVER")
	if server == "" {
		server = "http://127.0.0.1:7400"
	}
	connection, err := grpc.Dial(
		strings.TrimPrefix(server, "http://"),
		grpc.WithInsecure(),
		// After a connection broke, the first try comes soon, and later ones not too late.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 50 * time.Millisecond, Multiplier: 2, Jitter: 0.2, MaxDelay: 2 * time.Second,
			},
			MinConnectTimeout: 5 * time.Second,
		}),
		// So that a follower notices a path that vanished.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 30 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true,
		}),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	if err := run(context.Background(), store{v1.NewEventStoreServiceClient(connection)}); err != nil {
		log.Fatal(err)
	}
}
