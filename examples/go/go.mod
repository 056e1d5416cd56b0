module streamgate.example/booking

go 1.19
