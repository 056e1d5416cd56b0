package main

import (
	"context"
	"io"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	v1 "streamgate.example/booking/gen/streamgate/v1"
)

const (
	triesMax = 10
	timeout  = 10 * time.Second
	waitMin  = 50 * time.Millisecond
	waitMax  = 2 * time.Second
)

// reason is the reason that Streamgate gave; empty if the error is not of its making.
func reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == "streamgate" {
			return info.GetReason()
		}
	}
	return ""
}

// passes tells whether the same call may do when it is made again. Whether the append was done is
// not known.
func passes(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.Unknown, codes.DeadlineExceeded, codes.ResourceExhausted:
		return true
	case codes.Internal:
		// As this library calls answers that are cut short and calls that a balancer resets.
		return reason(err) == ""
	default:
		return false
	}
}

// delay is how long to wait: as long as the server said, else longer each time.
func delay(err error, tries int) time.Duration {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok && info.GetRetryDelay() != nil {
			told := info.GetRetryDelay()
			return time.Duration(told.GetSeconds())*time.Second + time.Duration(told.GetNanos())
		}
	}
	if wait := waitMin << tries; wait < waitMax {
		return wait
	}
	return waitMax
}

func sleep(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// passing waits before the next try, or returns the error if another would not help.
func passing(ctx context.Context, err error, tries int) error {
	if !passes(err) || tries >= triesMax {
		return err
	}
	return sleep(ctx, delay(err, tries))
}

// store is a server, or any number of them behind one address, of which each call may fail.
type store struct {
	client v1.EventStoreServiceClient
}

// append sends the same request again until it is known what became of it. This is safe because
// every event of it has an id that was made before the first try.
func (s store) append(
	ctx context.Context, request *v1.AppendRequest,
) (*v1.AppendResponse, error) {
	for tries := 1; ; tries++ {
		answer, err := s.appendOnce(ctx, request)
		if err == nil {
			return answer, nil
		}
		if err := passing(ctx, err, tries); err != nil {
			return nil, err
		}
	}
}

func (s store) appendOnce(
	ctx context.Context, request *v1.AppendRequest,
) (*v1.AppendResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return s.client.Append(ctx, request, grpc.WaitForReady(true))
}

// read takes the history of an object from a version on; nothing if it has none yet. An error of
// take ends it.
func (s store) read(
	ctx context.Context, object *v1.ObjectRef, from uint64, take func(*v1.RecordedEvent) error,
) error {
	for tries := 1; ; tries++ {
		var failure error
		err := s.readOnce(ctx, object, from, func(event *v1.RecordedEvent) bool {
			failure = take(event)
			from, tries = event.GetVersion()+1, 0
			return failure == nil
		})
		if failure != nil {
			return failure
		}
		if err == nil || reason(err) == "OBJECT_NOT_FOUND" {
			return nil
		}
		if err := passing(ctx, err, tries); err != nil {
			return err
		}
	}
}

func (s store) readOnce(
	ctx context.Context, object *v1.ObjectRef, from uint64, take func(*v1.RecordedEvent) bool,
) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request := &v1.ReadRequest{
		Object: object,
		Start:  &v1.ReadRequest_FromVersion{FromVersion: from},
	}
	return s.messages(ctx, request, func(message *v1.ReadResponse) bool {
		for _, event := range message.GetBatch().GetEvents() {
			if !take(event) {
				return false
			}
		}
		return true
	})
}

// follow takes events as they come, and with each batch the token to go on from, until take returns
// false. Whoever stores the token together with what the events did sees each event once.
func (s store) follow(
	ctx context.Context, object *v1.ObjectRef, token []byte,
	take func(events []*v1.RecordedEvent, token []byte) bool,
) error {
	for tries := 1; ; tries++ {
		request := &v1.ReadRequest{Object: object, Follow: &v1.FollowOptions{}}
		if len(token) > 0 {
			request.Start = &v1.ReadRequest_ResumeToken{ResumeToken: token}
		}
		goOn := true
		err := s.messages(ctx, request, func(message *v1.ReadResponse) bool {
			tries = 0
			if next := message.GetResumeToken(); len(next) > 0 {
				token = next
			}
			if events := message.GetBatch().GetEvents(); len(events) > 0 {
				goOn = take(events, token)
			}
			return goOn
		})
		if !goOn {
			return nil
		}
		if reason(err) == "OBJECT_NOT_FOUND" {
			err = sleep(ctx, delay(err, 1))
		} else if err != nil {
			err = passing(ctx, err, tries)
		}
		if err != nil {
			return err
		}
	}
}

// messages hands over what one call sends, until the call ends or take returns false.
func (s store) messages(
	ctx context.Context, request *v1.ReadRequest, take func(*v1.ReadResponse) bool,
) error {
	// The library keeps a call until it ended or was cancelled.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.client.Read(ctx, request, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	for {
		message, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if !take(message) {
			return nil
		}
	}
}
